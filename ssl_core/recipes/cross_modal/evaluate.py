"""In-trial metrics on the validation objects. The test split is never read here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.evaluation.extract import image_features, point_features
from ssl_core.evaluation.probes import draw_labels, linear_svm
from ssl_core.losses.cross_modal import CONSTANT_ACCURACY, matching_accuracy, pair_distance
from ssl_core.models.modes import evaluating
from ssl_core.recipes.cross_modal.objective import MATCHES, CrossModalObjective

if TYPE_CHECKING:
    from ssl_core.recipes.cross_modal.data import CrossModalData

Features = NDArray[np.float32]


def validate(objective: CrossModalObjective, data: CrossModalData) -> dict[str, float]:
    """All validation metrics; accuracies in [0, 1]. Leaves the objective's mode as it found it."""
    with evaluating(objective):
        return {**matching_metrics(objective, data), **probe_metrics(objective, data)}


def matching_metrics(objective: CrossModalObjective, data: CrossModalData) -> dict[str, float]:
    """Matching accuracy, what a constant predictor and a perfect class matcher would reach, and pair distances."""
    accuracies, positives, negatives, same_class = [], [], [], []
    for repeat in range(data.config.validation.matching_repeats):
        batch, same = data.validation_batch(data.val, repeat)
        views = objective.image_features(batch["images"])
        logits = objective.matching_logits(views, objective.points(batch["points"]))
        accuracies.append(float(matching_accuracy(logits, torch.tensor(MATCHES))))
        positives.append(float(pair_distance(views[0], views[1]).mean()))
        negatives.append(float(pair_distance(views[0], views[2]).mean()))
        same_class.append(same)
    positive, negative = float(np.mean(positives)), float(np.mean(negatives))
    return {
        "val/matching_accuracy": float(np.mean(accuracies)),
        "val/matching_constant": CONSTANT_ACCURACY,
        "val/matching_class_oracle": 1.0 - float(np.mean(same_class)) / 3.0,
        "val/distance_positive": positive,
        "val/distance_negative": negative,
        "val/distance_ratio": negative / max(positive, 1e-12),
    }


def probe_metrics(objective: CrossModalObjective, data: CrossModalData) -> dict[str, float]:
    """Few-shot linear-SVM accuracy of both branches: mean over label draws (points: and point draws), with its error.

    `val/probe` is the mean of the two branches; label draws are the same for every trial and epoch of a study.
    """
    settings, pack = data.config.validation, data.pack
    pool = draw_pool(pack.labels, data.fit, settings.pool_per_class)
    draws = [
        draw_labels(pack.labels[pool], per_class=settings.labels_per_class, seed=seed)
        for seed in range(settings.label_draws)
    ]
    objects = np.concatenate([pool, data.val])
    points = [point_features(objective.points, data.sampler, objects, draw) for draw in range(settings.point_draws)]
    size = data.config.image.image_size
    views = image_features(objective.image, pack, objects, size, views=settings.views).max(axis=1)
    metrics: dict[str, float] = {}
    for name, features in (("points", points), ("image", [views])):
        scores = np.array([_draw_accuracy(features, pack.labels[objects], len(pool), draw) for draw in draws])
        metrics[f"val/{name}_probe"] = float(scores.mean())
        metrics[f"val/{name}_probe_se"] = float(scores.std(ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else 0.0
    metrics["val/probe"] = 0.5 * (metrics["val/points_probe"] + metrics["val/image_probe"])
    return metrics


def draw_pool(labels: NDArray[np.int64], objects: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """The first `per_class` objects of each class, in pack order."""
    return np.concatenate([objects[labels[objects] == c][:per_class] for c in np.unique(labels[objects])])


def _draw_accuracy(features: list[Features], labels: NDArray[np.int64], pool: int, draw: NDArray[np.int64]) -> float:
    """Accuracy on the objects after the first `pool`, trained on `draw` of the pool, over the feature draws."""
    return float(np.mean([linear_svm(x[draw], labels[draw], x[pool:], labels[pool:]).accuracy for x in features]))
