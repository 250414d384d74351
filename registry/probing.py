"""The grid of an evaluation: features of an encoder and its twins → rows with intervals. No MLflow.

Features come in *cells*: one number of views (None for points) and several draws of it. Every probe of a
cell is fitted on the same label draws for the encoder and for each twin, so that differences are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.reports import Correctness, EvaluationConfig, FeatureHealth, LabelSetting, Modality, Probe, Row
from ssl_core.evaluation.probes import draw_labels, knn, linear_svm
from ssl_core.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    mean_interval,
    paired_bootstrap,
    paired_difference,
)

Features = NDArray[np.float32]
Cells = Mapping[int | None, Sequence[Features]]
"""number of views (None: points) → draws, each [objects, F] over train then test objects"""


@dataclass(frozen=True)
class Labels:
    """Labels of the evaluated objects: train [n], test [m], values index the class names."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    classes: int


@dataclass(frozen=True)
class Scores:
    """correct [label draws, test objects] in [0, 1], mean over point draws;
    predictions [point draws, test objects] of the first label draw."""

    correct: NDArray[np.float64]
    predictions: NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """All rows, with what the gate and the pictures need besides."""

    rows: tuple[Row, ...]
    deciding: Correctness
    full_labels: Correctness
    confusion: NDArray[np.float64]


def probe_cell(
    draws: Sequence[Features], labels: Labels, setting: LabelSetting, probe: Probe, config: EvaluationConfig
) -> Scores:
    """Fit one probe for every label draw and every point draw of a cell."""
    n = len(labels.train)
    correct = np.zeros((setting.draws, len(labels.test)))
    first = []
    for draw in range(setting.draws):
        chosen = draw_labels(labels.train, per_class=setting.per_class, fraction=setting.fraction, seed=draw)
        for features in draws:
            train, test = features[:n][chosen], features[n:]
            match probe:
                case "svm":
                    result = linear_svm(train, labels.train[chosen], test, labels.test, C=config.svm_c)
                case "knn":
                    result = knn(train, labels.train[chosen], test, labels.test, k=config.knn_k)
            correct[draw] += result.predictions == labels.test
            if draw == 0:
                first.append(result.predictions)
    return Scores(correct / len(draws), np.stack(first))


def probe_grid(
    modality: Modality, cells: Cells, twins: Sequence[Cells], labels: Labels, config: EvaluationConfig
) -> Grid:
    """Every probe × label setting × number of views, against the twins.

    Args:
        modality: for the rows.
        cells: the encoder's features.
        twins: the same cells of each twin; may be empty.
        labels: of train and test objects, in the order of the features.
        config: the protocol.
    """
    most_views = max(cells, key=lambda views: views or 0)
    most_labels = _most_labels(config, labels)
    rows: list[Row] = []
    kept: dict[LabelSetting, tuple[Scores, NDArray[np.float64] | None]] = {}
    for views, draws in cells.items():
        for setting in config.label_settings:
            for probe in ("svm", "knn"):
                scores = probe_cell(draws, labels, setting, probe, config)
                twin = [probe_cell(other[views], labels, setting, probe, config).correct for other in twins]
                twin_correct = np.mean(twin, axis=0) if twin else None
                rows.append(_row(modality, probe, setting, views, scores.correct, twin_correct, config))
                if probe == "svm" and views == most_views:
                    kept[setting] = (scores, twin_correct)
    return Grid(
        rows=tuple(rows),
        deciding=_correctness(config.deciding_labels, most_views, *kept[config.deciding_labels]),
        full_labels=_correctness(most_labels, most_views, *kept[most_labels]),
        confusion=_confusion(kept[most_labels][0].predictions, labels),
    )


def feature_health(features: Features, test_labels: NDArray[np.int64]) -> FeatureHealth:
    """Of test features [m, F]."""
    constant = float(np.bincount(test_labels).max() / len(test_labels))
    if not np.isfinite(features).all():
        return FeatureHealth(finite=False, relative_std=0.0, effective_rank=0.0, constant_accuracy=constant)
    x = features.astype(np.float64)
    centred = x - x.mean(axis=0)
    size = float(np.sqrt((x**2).mean()))
    relative = float(np.sqrt((centred**2).mean())) / size if size > 0 else 0.0
    singular = np.linalg.svd(centred, compute_uv=False)
    # what is left of a constant after centring is rounding, and rounding has full rank
    if relative < 1e-6:
        return FeatureHealth(finite=True, relative_std=relative, effective_rank=0.0, constant_accuracy=constant)
    p = singular / singular.sum()
    p = p[p > 0]
    rank = float(np.exp(-(p * np.log(p)).sum()))
    return FeatureHealth(finite=True, relative_std=relative, effective_rank=rank, constant_accuracy=constant)


def _row(
    modality: Modality,
    probe: Probe,
    setting: LabelSetting,
    views: int | None,
    correct: NDArray[np.float64],
    twin: NDArray[np.float64] | None,
    config: EvaluationConfig,
) -> Row:
    by_draw = setting.draws > 1
    return Row(
        modality=modality,
        probe=probe,
        labels=setting.name,
        views=views,
        accuracy=_accuracy(correct, by_draw, config.confidence),
        twin=None if twin is None else _accuracy(twin, by_draw, config.confidence),
        difference=None if twin is None else _difference(correct, twin, by_draw, config.confidence),
        over="label draws" if by_draw else "test objects",
    )


def _accuracy(correct: NDArray[np.float64], by_draw: bool, confidence: float) -> Interval:
    if by_draw:
        return mean_interval(correct.mean(axis=1), confidence)
    return bootstrap_mean(correct[0], confidence=confidence)


def _difference(a: NDArray[np.float64], b: NDArray[np.float64], by_draw: bool, confidence: float) -> Interval:
    if by_draw:
        return paired_difference(a.mean(axis=1), b.mean(axis=1), confidence)
    return paired_bootstrap(a[0], b[0], confidence=confidence)


def _correctness(
    setting: LabelSetting, views: int | None, scores: Scores, twin: NDArray[np.float64] | None
) -> Correctness:
    return Correctness(
        labels=setting.name,
        views=views,
        encoder=_rounded(scores.correct),
        twin=None if twin is None else _rounded(twin),
    )


def _rounded(values: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """Four decimals: thirds and ninths of draws stay distinct, and the file stays small."""
    return tuple(tuple(row) for row in np.round(values, 4).tolist())


def _confusion(predictions: NDArray[np.int64], labels: Labels) -> NDArray[np.float64]:
    """[C, C] test objects per true and predicted class, mean over point draws."""
    counts = np.zeros((labels.classes, labels.classes))
    for row in predictions:
        np.add.at(counts, (labels.test, row), 1.0)
    return counts / len(predictions)


def _most_labels(config: EvaluationConfig, labels: Labels) -> LabelSetting:
    """The setting under which a probe sees the most objects; the first of them on a tie."""

    def amount(setting: LabelSetting) -> int:
        return len(draw_labels(labels.train, per_class=setting.per_class, fraction=setting.fraction, seed=0))

    return max(config.label_settings, key=amount)
