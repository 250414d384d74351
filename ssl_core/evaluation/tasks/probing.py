"""The probing task: a frozen encoder and its baselines on a pack's test split, by probes on their features.

Features are computed once per encoder and draw and reused by every probe, label setting, label draw and section; with a
cache, by other evaluations too. Training objects are fit and validation together; test objects are touched here and
nowhere else.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.baselines import Baseline, baselines_of
from ssl_core.evaluation.extract import ExtractionTimes, Features
from ssl_core.evaluation.features import EncoderCard, FeatureSource, PooledCells, RawFeatures, whole
from ssl_core.evaluation.pictures import GREY, INK, confusion_png, embedding_png, pca_png, png
from ssl_core.evaluation.probe_grid import Grid, Labels, feature_health, fits, probe_grid
from ssl_core.evaluation.probe_rows import Row
from ssl_core.evaluation.protocol import OBJECTS_FILE, PROBES, LabelSetting, ObjectLists, Pooling, object_lists
from ssl_core.evaluation.report import Steps
from ssl_core.evaluation.sections.all_sections import measure_sections
from ssl_core.evaluation.statistics import Interval
from ssl_core.evaluation.task_contract import Context, Evaluation, Subject
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, ProbingReport, defects_of
from ssl_core.models.modes import device_of, threads

ENCODER, MEAN, TWIN = "#1d4ed8", "#0f766e", "#9ca3af"


def evaluate_encoder(
    encoder: nn.Module,
    card: EncoderCard,
    pack: ObjectPack,
    config: EvaluationConfig,
    context: Context = Context(),
    times: ExtractionTimes | None = None,
) -> Evaluation[ProbingReport]:
    """Run the whole protocol. The encoder, on any device, keeps its mode and weights; its card builds the random twins.

    What the encoder's own extraction took is added to `times`. Raises InfeasibleError when the pack has no test objects
    or cannot serve the encoder's contract.
    """
    if device_of(encoder).type == "cpu":
        # several wait for each other at every layer, and where cores are taken they wait for long
        with threads(1):
            return _evaluated(encoder, card, pack, config, context, times)
    return _evaluated(encoder, card, pack, config, context, times)


def _evaluated(
    encoder: nn.Module,
    card: EncoderCard,
    pack: ObjectPack,
    config: EvaluationConfig,
    context: Context,
    times: ExtractionTimes | None,
) -> Evaluation[ProbingReport]:
    start = time.perf_counter()
    labels, objects = _objects(pack)
    source = FeatureSource(pack, objects, card, config, context.cache)
    baselines, left_out = baselines_of(source, encoder, len(labels.train))
    steps = _planned(source, config, context, baselines)
    with steps.block("features of the encoder", source.batches):
        raw = source.raw(encoder, context.identity, times, steps)
    lists = object_lists(pack, config)
    report = _blank(source, config, raw, labels, lists)
    files = {OBJECTS_FILE: lists.to_json()}
    if not report.health.finite:
        return Evaluation(_timed(report, source, start), files=files)
    others = _baseline_cells(baselines, steps)
    found = _probed(report, source.pooled(raw), others, baselines, labels, steps)
    report = report.model_copy(update={**found, "baselines_left_out": left_out})
    subject = Subject(encoder, card, context.identity, source, raw, labels, steps, context.companions)
    sections, pictures, seconds = measure_sections(subject, config.sections)
    report = report.model_copy(update={"sections": sections, "section_seconds": seconds})
    pictures = {**_pictures(report, whole(raw)[len(labels.train) :], labels.test, context.title), **pictures}
    return Evaluation(_timed(report, source, start), pictures, files)


def _objects(pack: ObjectPack) -> tuple[Labels, NDArray[np.int64]]:
    """Labels of train and test objects, and their indices, train first."""
    train, test = pack.objects("train"), pack.objects("test")
    if len(train) == 0 or len(test) == 0:
        raise InfeasibleError(
            f"pack {pack.path} has {len(train)} train and {len(test)} test objects; evaluation needs both, "
            "pack a data set with a train and a test split"
        )
    labels = Labels(pack.labels[train], pack.labels[test], len(pack.manifest.class_names))
    return labels, np.concatenate([train, test])


def _planned(source: FeatureSource, config: EvaluationConfig, context: Context, baselines: Sequence[Baseline]) -> Steps:
    """All that will be done: the encoder and its baselines read the pack, probes are fitted, sections measured."""
    plan = {
        "features of the encoder": source.batches,
        **{_reading(one): one.batches for one in baselines},
        "probes": sum(_fits(draws, config, pooling, baselines) for pooling, draws in source.shape.items()),
        **{section.name.replace("_", " "): section.steps(settings) for section, settings in config.sections.asked()},
    }
    return Steps.planned(context.title, plan, context.tell)


def _reading(baseline: Baseline) -> str:
    return f"features of the baseline: {baseline.name}"


def _fits(
    draws: Mapping[int | None, int], config: EvaluationConfig, pooling: Pooling | None, baselines: Sequence[Baseline]
) -> int:
    everywhere = 1 + sum(one.members for one in baselines if one.everywhere)
    at_most = 0 if pooling == "mean" else sum(one.members for one in baselines if not one.everywhere)
    return fits(draws, config, pooling, everywhere, at_most)


def _blank(
    source: FeatureSource, config: EvaluationConfig, raw: RawFeatures, labels: Labels, lists: ObjectLists
) -> ProbingReport:
    """The report before anything was probed."""
    health = feature_health(whole(raw)[len(labels.train) :], labels.test)
    return ProbingReport(
        kind=source.card.kind,
        data_digest=source.pack.manifest.pack_digest,
        config=config,
        class_names=tuple(source.pack.manifest.class_names),
        train_objects=len(labels.train),
        test_objects=len(labels.test),
        objects_digest=lists.digest(),
        max_views=None if raw.views is None else raw.views.shape[1],
        health=health,
        rows=(),
        deciding=None,
        baseline=None,
        defects=defects_of(health, None, labels.classes),
    )


def _baseline_cells(baselines: Sequence[Baseline], steps: Steps) -> dict[str, list[PooledCells]]:
    """Of each baseline's members."""
    found = {}
    for one in baselines:
        with steps.block(_reading(one), one.batches):
            found[one.name] = one.measure(steps)
    return found


def _probed(
    report: ProbingReport,
    cells: PooledCells,
    others: Mapping[str, list[PooledCells]],
    baselines: Sequence[Baseline],
    labels: Labels,
    steps: Steps,
) -> dict[str, object]:
    """What the probes found: rows of every pooling, the rest of the maximum."""
    grids: dict[Pooling | None, Grid] = {}
    everywhere = {one.name for one in baselines if one.everywhere}
    for pooling, some in cells.items():
        draws = {views: len(draws) for views, draws in some.items()}
        with steps.block("probes", _fits(draws, report.config, pooling, baselines)):
            there = {name: [one[pooling] for one in members if pooling in one] for name, members in others.items()}
            grids[pooling] = probe_grid(some, there, labels, report.config, pooling, steps, everywhere)
    grid = grids["max"] if "max" in grids else grids[None]
    return {
        "rows": tuple(row for one in grids.values() for row in one.rows),
        "deciding": grid.deciding.encoder,
        "baseline": grid.deciding.baseline,
        "baseline_name": grid.deciding.baseline_name,
        "baselines": grid.deciding.baselines,
        "full_labels": grid.full_labels.encoder,
        "confusion": tuple(tuple(row) for row in np.round(grid.confusion, 4).tolist()),
        "defects": defects_of(report.health, grid.full_labels.encoder, labels.classes),
    }


def _timed(report: ProbingReport, source: FeatureSource, start: float) -> ProbingReport:
    seconds = round(time.perf_counter() - start, 3)
    return report.model_copy(update={"seconds": seconds, "extraction": source.log.report()})


def _pictures(report: ProbingReport, features: Features, labels: NDArray[np.int64], title: str) -> dict[str, bytes]:
    counts = np.array(report.confusion)
    shown = report.fullest.labels if report.fullest is not None else "all"
    probe = PROBES[report.config.deciding_probe]
    return {
        "embedding.png": embedding_png(features, labels, report.class_names, title),
        "pca.png": pca_png(features, labels, report.class_names, title),
        "confusion.png": confusion_png(counts, report.class_names, f"{title}: {probe}, labels: {shown}"),
        "accuracy.png": accuracy_png(report, title),
    }


def accuracy_png(report: ProbingReport, title: str) -> bytes:
    """PNG with one panel over label settings (at all views) and, for images, one over numbers of views.

    A band is the interval of its line; views pooled by their mean stand beside the maximum.
    """
    settings = sorted(report.config.label_settings, key=lambda setting: _labelled(report, setting))
    ticks = [f"{setting.name}\n({_labelled(report, setting)})" for setting in settings]
    views = sorted({row.views for row in report.rows if row.views is not None})
    panels = 2 if len(views) > 1 else 1
    figure = Figure(figsize=(4.9 * panels + 0.6, 3.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _panel(axes[0], ticks, _lines(report, [(setting.name, None) for setting in settings]), "labels (labelled objects)")
    if panels == 2:
        name = report.config.deciding_labels.name
        places = [(name, count) for count in views]
        _panel(axes[1], [str(count) for count in views], _lines(report, places), f"views (labels: {name})")
    probe = PROBES[report.config.deciding_probe]
    axes[0].set_ylabel(f"{probe}, test accuracy [%]", fontsize=9, color=GREY)
    axes[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return png(figure)


Line = tuple[str, str, Sequence[Interval | None]]
"""name, colour, an interval per place"""


def _lines(report: ProbingReport, places: Sequence[tuple[str, int | None]]) -> list[Line]:
    """Of the deciding probe at (labels, views), drawn in this order: the strongest baseline of each place below."""

    def rows(pooling: Pooling) -> list[Row | None]:
        return [report.row(report.config.deciding_probe, labels, views, pooling) for labels, views in places]

    most = rows("max")
    lines: list[Line] = [
        ("strongest baseline", TWIN, [row.baseline if row is not None else None for row in most]),
        ("encoder", ENCODER, [row.accuracy if row is not None else None for row in most]),
    ]
    if report.max_views is not None:
        lines.insert(1, ("encoder, mean of views", MEAN, [row.accuracy if row else None for row in rows("mean")]))
    return lines


def _panel(axes: Axes, ticks: Sequence[str], lines: Sequence[Line], label: str) -> None:
    for name, colour, intervals in lines:
        known = [(place, interval) for place, interval in enumerate(intervals) if interval is not None]
        if not known:
            continue
        x, means = [place for place, _ in known], [100 * interval.mean for _, interval in known]
        low, high = ([100 * getattr(interval, side) for _, interval in known] for side in ("low", "high"))
        axes.plot(x, means, color=colour, marker="o", markersize=4, linewidth=1.8, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.set_xticks(range(len(ticks)), list(ticks), fontsize=8)
    axes.set_xlabel(label, fontsize=9, color=GREY)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _labelled(report: ProbingReport, setting: LabelSetting) -> int:
    """About how many objects carry labels; exact when classes are of equal size."""
    if setting.per_class is not None:
        return min(setting.per_class * len(report.class_names), report.train_objects)
    if setting.fraction is None:
        return report.train_objects
    return max(len(report.class_names), int(setting.fraction * report.train_objects))
