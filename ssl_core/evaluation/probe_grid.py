"""The grid of a probing evaluation: features of an encoder and its baselines → rows with intervals.

Features come in *cells*: one number of views (None for points) and several draws of it. Every probe of a
cell is fitted on the same label draws for the encoder and for each baseline, so that differences are paired.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.evaluation.probe_rows import Row, Spread
from ssl_core.evaluation.probes import ProbeResult, draw_labels, knn, linear_probe, linear_svm, one_scale_svm
from ssl_core.evaluation.protocol import PROBES, SCALES, LabelSetting, Pooling, Probe, ProbingConfig
from ssl_core.evaluation.report import BaselineScore, Scores, Steps, beside, strongest
from ssl_core.evaluation.statistics import bootstrap_mean, mean_interval
from ssl_core.models.modes import threads

Features = NDArray[np.float32]
Cells = Mapping[int | None, Sequence[Features]]
"""number of views (None: points) → draws, each [objects, F] over train then test objects"""


@dataclass(frozen=True)
class Labels:
    """Labels of the evaluated objects: train [n], test [m], values index the class names."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    classes: int


class FeatureHealth(Config):
    """Signs of collapse, on test features."""

    finite: bool
    relative_std: float
    """root mean square of the features' standard deviations over that of the features; 0 = constant"""
    effective_rank: float
    """exp(entropy of the normalised singular values) of the centred features (Roy & Vetterli 2007)"""
    constant_accuracy: float
    """share of the commonest test class: what a probe without information reaches"""


@dataclass(frozen=True)
class Answers:
    """correct [label draws, test objects] in [0, 1], mean over point draws;
    predictions [point draws, test objects] of the first label draw;
    single [label draws, point draws] accuracies."""

    correct: NDArray[np.float64]
    predictions: NDArray[np.int64]
    single: NDArray[np.float64]


@dataclass(frozen=True)
class Probed:
    """What one probe found: the encoder's answers, and each baseline's as `Answers.correct`."""

    encoder: Answers
    baselines: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Decisive:
    """The deciding probe at all views: what was answered, and the strongest baseline's answers on the same draws and
    objects."""

    encoder: Scores
    baseline: Scores | None
    baseline_name: str
    baselines: dict[str, BaselineScore]


@dataclass(frozen=True)
class Grid:
    """All rows, with what gates and pictures need besides."""

    rows: tuple[Row, ...]
    deciding: Decisive
    full_labels: Decisive
    confusion: NDArray[np.float64]


def probe_cell(
    draws: Sequence[Features], labels: Labels, setting: LabelSetting, probe: Probe, config: ProbingConfig
) -> Answers:
    """Fit one probe for every label draw and every point draw of a cell: every labelled object, every test object."""
    correct = np.zeros((setting.draws, len(labels.test)))
    single = np.zeros((setting.draws, len(draws)))
    first = []
    for draw in range(setting.draws):
        chosen = labelled(labels, setting, config, draw)
        for place, features in enumerate(draws):
            result = fit_probe(features, labels, chosen, probe, config)
            correct[draw] += result.predictions == labels.test
            single[draw, place] = result.accuracy
            if draw == 0:
                first.append(result.predictions)
    return Answers(correct / len(draws), np.stack(first), single)


def labelled(labels: Labels, setting: LabelSetting, config: ProbingConfig, draw: int) -> NDArray[np.int64]:
    """Places of the training objects that carry labels in one draw."""
    seed = config.label_seed(draw)
    return draw_labels(labels.train, per_class=setting.per_class, fraction=setting.fraction, seed=seed)


def fit_probe(
    features: Features, labels: Labels, chosen: NDArray[np.int64], probe: Probe, config: ProbingConfig
) -> ProbeResult:
    """Fit on the labelled ones of `features` [objects, F], train then test; predict the test objects."""
    known, test = features[: len(labels.train)], features[len(labels.train) :]
    train, truth = known[chosen], labels.train[chosen]
    match probe:
        case "svm":
            return linear_svm(train, truth, test, labels.test, C=config.svm_c)
        case "one_scale_svm":
            return one_scale_svm(train, truth, test, labels.test, C=config.svm_c, reference=known)
        case "knn":
            return knn(train, truth, test, labels.test, k=config.knn_k)
        case "nearest":
            return knn(train, truth, test, labels.test, k=1)
        case "linear":
            # steps of a few hundred objects are too small to share: two threads on busy cores take 30 times as long
            with threads(1):
                return linear_probe(train, truth, test, labels.test, seed=config.draw_seed)
        case _:
            assert_never(probe)


def probe_grid(
    cells: Cells,
    baselines: Mapping[str, Sequence[Cells]],
    labels: Labels,
    config: ProbingConfig,
    pooling: Pooling | None = None,
    steps: Steps | None = None,
    everywhere: Collection[str] | None = None,
) -> Grid:
    """Every label setting × number of views × probe, against the baselines.

    The deciding SVM is fitted everywhere, the other one and the linear probe at all views, neighbours where views are
    pooled by their maximum.

    A baseline is given as cells of its members, whose answers are averaged: the encoder's, or some of them. At all
    views the deciding probe of the encoder stands beside both SVMs of each baseline: what features are worth must not
    be read too low because of the basis that they are written in. Baselines that are not named in `everywhere` (None:
    all are) are read by these two alone. `pooling` says how the cells' views were pooled (None: points); `steps` hears
    of every fit (`fits` in all).
    """
    most, most_labels = most_views(cells), most_labelled(config, labels)
    rows: list[Row] = []
    kept: dict[LabelSetting, tuple[Probed, Row]] = {}
    for views, draws in cells.items():
        there = {name: [some[views] for some in members if views in some] for name, members in baselines.items()}
        for setting in config.label_settings:
            answers: dict[Probe, Probed] = {}
            for probe in _probes(config, pooling=pooling, most=views == most):
                beside_it = {name: some for name, some in there.items() if _reads(probe, name, everywhere, config)}
                answers[probe] = _probed(draws, beside_it, labels, setting, probe, config)
                if steps is not None:
                    steps.step(setting.draws * len(draws) * (1 + sum(map(len, beside_it.values()))))
            for probe, found in _both_readings(answers, config).items():
                place = {"probe": probe, "labels": setting.name, "views": views, "pooling": pooling}
                rows.append(Row.model_validate({**place, **_numbers(found, config)}))
                if probe == config.deciding_probe and views == most:
                    kept[setting] = (found, rows[-1])
    return Grid(
        rows=tuple(rows),
        deciding=_decisive(config, config.deciding_labels, *kept[config.deciding_labels]),
        full_labels=_decisive(config, most_labels, *kept[most_labels]),
        confusion=_confusion(kept[most_labels][0].encoder.predictions, labels),
    )


def _probed(
    draws: Sequence[Features],
    baselines: Mapping[str, Sequence[Sequence[Features]]],
    labels: Labels,
    setting: LabelSetting,
    probe: Probe,
    config: ProbingConfig,
) -> Probed:
    """Of one cell; each baseline as the mean of its members' answers."""
    others: dict[str, NDArray[np.float64]] = {
        name: np.mean([probe_cell(one, labels, setting, probe, config).correct for one in members], axis=0)
        for name, members in baselines.items()
        if members
    }
    return Probed(probe_cell(draws, labels, setting, probe, config), others)


def _both_readings(answers: Mapping[Probe, Probed], config: ProbingConfig) -> dict[Probe, Probed]:
    """The deciding probe beside the baselines as both SVMs read them, where both were fitted."""
    mine, other = answers[config.deciding_probe], answers.get(config.other_svm)
    if other is None:
        return dict(answers)
    second = {f"{name}, {SCALES[config.other_svm]}": correct for name, correct in other.baselines.items()}
    return {**answers, config.deciding_probe: Probed(mine.encoder, {**mine.baselines, **second})}


def _reads(probe: Probe, baseline: str, everywhere: Collection[str] | None, config: ProbingConfig) -> bool:
    return everywhere is None or baseline in everywhere or probe in (config.deciding_probe, config.other_svm)


def fits(
    draws: Mapping[int | None, int], config: ProbingConfig, pooling: Pooling | None, encoders: int, at_most: int
) -> int:
    """Probes that `probe_grid` fits: `draws` of the cells by number of views, for `encoders` that have all cells and
    `at_most` further ones that have the one of all views and are read by the SVMs."""
    labels, most, found = sum(setting.draws for setting in config.label_settings), most_views(draws), 0
    for views, count in draws.items():
        probes = _probes(config, pooling=pooling, most=views == most)
        machines = [probe for probe in probes if _reads(probe, "", (), config)]
        found += labels * count * (encoders * len(probes) + (at_most * len(machines) if views == most else 0))
    return found


def most_views(views: Iterable[int | None]) -> int | None:
    """The cell of all views; None for points."""
    return max(views, key=lambda count: count or 0)


def _probes(config: ProbingConfig, *, pooling: Pooling | None, most: bool) -> tuple[Probe, ...]:
    """Those fitted at one number of views; what is left out tells nothing that the SVM does not."""
    left_out: set[Probe] = set()
    if pooling == "mean":
        left_out |= {"knn", "nearest"}
    if not most:
        left_out |= {"linear", "nearest", config.other_svm}
    return tuple(probe for probe in config.probes if probe not in left_out)


def feature_health(features: Features, test_labels: NDArray[np.int64]) -> FeatureHealth:
    """Of test features [m, F]."""
    constant = float(np.bincount(test_labels).max() / len(test_labels))
    finite, relative, rank = bool(np.isfinite(features).all()), 0.0, 0.0
    if finite:
        x = features.astype(np.float64)
        centred = x - x.mean(axis=0)
        size = float(np.sqrt((x**2).mean()))
        relative = float(np.sqrt((centred**2).mean())) / size if size > 0 else 0.0
    if relative >= 1e-6:  # what is left of a constant after centring is rounding, and rounding has full rank
        singular = np.linalg.svd(centred, compute_uv=False)
        p = singular / singular.sum()
        p = p[p > 0]
        rank = float(np.exp(-(p * np.log(p)).sum()))
    return FeatureHealth(finite=finite, relative_std=relative, effective_rank=rank, constant_accuracy=constant)


def _numbers(found: Probed, config: ProbingConfig) -> dict[str, object]:
    """The part of a row that was measured."""
    correct, confidence = found.encoder.correct, config.confidence
    by_draw = len(correct) > 1
    accuracy = (
        mean_interval(correct.mean(axis=1), confidence)
        if by_draw
        else bootstrap_mean(correct[0], confidence=confidence)
    )
    baselines = beside(correct, found.baselines, confidence)
    numbers = {
        "over": "label draws" if by_draw else "test objects",
        "single": _spread(found.encoder.single),
        "accuracy": accuracy,
        "baselines": baselines,
    }
    name = strongest(baselines)
    if name is None:
        return {**numbers, "baseline": None, "difference": None}
    most = baselines[name]
    return {**numbers, "baseline_name": name, "baseline": most.score, "difference": most.difference}


def _spread(single: NDArray[np.float64]) -> Spread | None:
    """Of accuracies [label draws, point draws]; None where there is one draw of each."""
    if single.size < 2:
        return None
    values = single.reshape(-1)
    return Spread(
        draws=int(values.size), sd=float(values.std(ddof=1)), low=float(values.min()), high=float(values.max())
    )


def _decisive(config: ProbingConfig, setting: LabelSetting, found: Probed, row: Row) -> Decisive:
    def scores(correct: NDArray[np.float64]) -> Scores:
        # four decimals: thirds and ninths of draws stay distinct, and the file stays small
        values = tuple(tuple(row) for row in np.round(correct, 4).tolist())
        return Scores(name=probe_at(config.deciding_probe, setting.name), unit="test objects", values=values)

    strong = found.baselines.get(row.baseline_name)
    return Decisive(
        scores(found.encoder.correct), None if strong is None else scores(strong), row.baseline_name, row.baselines
    )


def probe_at(probe: Probe, labels: str) -> str:
    """What is measured by a probe at one label setting, for sentences."""
    return f"{PROBES[probe]} at {labels} labels"


def _confusion(predictions: NDArray[np.int64], labels: Labels) -> NDArray[np.float64]:
    """[C, C] test objects per true and predicted class, mean over point draws."""
    counts = np.zeros((labels.classes, labels.classes))
    for row in predictions:
        np.add.at(counts, (labels.test, row), 1.0)
    return counts / len(predictions)


def most_labelled(config: ProbingConfig, labels: Labels) -> LabelSetting:
    """The setting under which a probe sees the most objects; the first of them on a tie."""
    return max(config.label_settings, key=lambda setting: len(labelled(labels, setting, config, 0)))
