"""The grid of an evaluation: features of an encoder and its twins → rows with intervals. No MLflow.

Features come in *cells*: one number of views (None for points) and several draws of it. Every probe of a
cell is fitted on the same label draws for the encoder and for each twin, so that differences are paired.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from registry.evaluation.protocol import EvaluationConfig, LabelSetting, Modality, Pooling, Probe
from registry.evaluation.reports import Correctness, FeatureHealth, Row, Spread
from ssl_core.evaluation.linear_probe import linear_probe
from ssl_core.evaluation.probes import ProbeResult, draw_labels, knn, linear_svm
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
    predictions [point draws, test objects] of the first label draw;
    single [label draws, point draws] accuracies."""

    correct: NDArray[np.float64]
    predictions: NDArray[np.int64]
    single: NDArray[np.float64]


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
    """Fit one probe for every label draw and every point draw of a cell: every labelled object, every test object."""
    n = len(labels.train)
    correct = np.zeros((setting.draws, len(labels.test)))
    single = np.zeros((setting.draws, len(draws)))
    first = []
    for draw in range(setting.draws):
        chosen = labelled(labels, setting, config, draw)
        for place, features in enumerate(draws):
            result = fit_probe(features[:n][chosen], features[n:], labels, chosen, probe, config)
            correct[draw] += result.predictions == labels.test
            single[draw, place] = result.accuracy
            if draw == 0:
                first.append(result.predictions)
    return Scores(correct / len(draws), np.stack(first), single)


def labelled(labels: Labels, setting: LabelSetting, config: EvaluationConfig, draw: int) -> NDArray[np.int64]:
    """Places of the training objects that carry labels in one draw."""
    seed = config.label_seed(draw)
    return draw_labels(labels.train, per_class=setting.per_class, fraction=setting.fraction, seed=seed)


def fit_probe(
    train: Features,
    test: Features,
    labels: Labels,
    chosen: NDArray[np.int64],
    probe: Probe,
    config: EvaluationConfig,
) -> ProbeResult:
    """Fit on the labelled objects' features, predict the test objects'."""
    truth = labels.train[chosen]
    match probe:
        case "svm":
            return linear_svm(train, truth, test, labels.test, C=config.svm_c)
        case "knn":
            return knn(train, truth, test, labels.test, k=config.knn_k)
        case "linear":
            with _one_thread():
                return linear_probe(train, truth, test, labels.test, seed=config.draw_seed)
        case _:
            assert_never(probe)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps of a few hundred objects are too small to share: with two threads on busy cores they take 30 times as long,
    nearly all of it waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def probe_grid(
    modality: Modality,
    cells: Cells,
    twins: Sequence[Cells],
    labels: Labels,
    config: EvaluationConfig,
    pooling: Pooling = "max",
) -> Grid:
    """Every label setting × number of views × probe, against the twins.

    The SVM is fitted everywhere; kNN where views are pooled by their maximum; the linear probe at all views.

    Args:
        modality: for the rows.
        cells: the encoder's features.
        twins: the same cells of each twin; may be empty.
        labels: of train and test objects, in the order of the features.
        config: the protocol.
        pooling: how the cells' views were pooled; points have none.
    """
    most_views = max(cells, key=lambda views: views or 0)
    most_labels = most_labelled(config, labels)
    named = pooling if modality == "image" else None
    rows: list[Row] = []
    kept: dict[LabelSetting, tuple[Scores, NDArray[np.float64] | None]] = {}
    for views, draws in cells.items():
        probes = _probes(config, pooling=named, most=views == most_views)
        for setting in config.label_settings:
            for probe in probes:
                scores = probe_cell(draws, labels, setting, probe, config)
                twin = [probe_cell(other[views], labels, setting, probe, config).correct for other in twins]
                twin_correct = np.mean(twin, axis=0) if twin else None
                place = {"modality": modality, "probe": probe, "labels": setting.name, "views": views, "pooling": named}
                rows.append(Row.model_validate({**place, **_numbers(setting, scores, twin_correct, config)}))
                if probe == "svm" and views == most_views:
                    kept[setting] = (scores, twin_correct)
    return Grid(
        rows=tuple(rows),
        deciding=_correctness(config.deciding_labels, most_views, *kept[config.deciding_labels]),
        full_labels=_correctness(most_labels, most_views, *kept[most_labels]),
        confusion=_confusion(kept[most_labels][0].predictions, labels),
    )


def _probes(config: EvaluationConfig, *, pooling: Pooling | None, most: bool) -> tuple[Probe, ...]:
    """Those fitted at one number of views; what is left out tells nothing that the SVM does not."""
    left_out: set[Probe] = set()
    if pooling == "mean":
        left_out.add("knn")
    if not most:
        left_out.add("linear")
    return tuple(probe for probe in config.probes if probe not in left_out)


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


def _numbers(
    setting: LabelSetting, scores: Scores, twin: NDArray[np.float64] | None, config: EvaluationConfig
) -> dict[str, object]:
    """The part of a row that was measured."""
    by_draw, confidence = setting.draws > 1, config.confidence
    return {
        "accuracy": _accuracy(scores.correct, by_draw, confidence),
        "twin": None if twin is None else _accuracy(twin, by_draw, confidence),
        "difference": None if twin is None else _difference(scores.correct, twin, by_draw, confidence),
        "over": "label draws" if by_draw else "test objects",
        "single": _spread(scores.single),
    }


def _spread(single: NDArray[np.float64]) -> Spread | None:
    """Of accuracies [label draws, point draws]; None where there is one draw of each."""
    if single.size < 2:
        return None
    values = single.reshape(-1)
    return Spread(
        draws=int(values.size), sd=float(values.std(ddof=1)), low=float(values.min()), high=float(values.max())
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


def most_labelled(config: EvaluationConfig, labels: Labels) -> LabelSetting:
    """The setting under which a probe sees the most objects; the first of them on a tie."""
    return max(config.label_settings, key=lambda setting: len(labelled(labels, setting, config, 0)))
