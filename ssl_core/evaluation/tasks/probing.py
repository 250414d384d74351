"""The evaluation protocol: an encoder and its random-init twins on a pack's test split → report, pictures.

Features are computed once per encoder and draw and reused by every probe, label setting, label draw and section; with a
cache, by other evaluations too. Training objects are fit and validation together; test objects are touched here and
nowhere else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.evaluation.curves import accuracy_png
from registry.evaluation.feature_cache import FeatureCache
from registry.evaluation.features import FeatureSource, PooledCells, RawFeatures, TwinMemory, pool
from registry.evaluation.object_lists import ObjectLists, object_lists
from registry.evaluation.pca_picture import pca_png
from registry.evaluation.probing import Features, Grid, Labels, feature_health, probe_grid
from registry.evaluation.reports import EvaluationConfig, EvaluationReport, LabelSetting, Row
from registry.evaluation.sections.measure import measure_sections
from registry.evaluation.sections.subject import Partner, Subject
from ssl_core.data.pack import Pack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.embedding_plot import confusion_png, embedding_png
from ssl_core.evaluation.extract import ExtractionTimes
from ssl_core.models.encoder import Encoder

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "EvaluationReport",
    "Keep",
    "LabelSetting",
    "Partner",
    "Row",
    "Twins",
    "evaluate_encoder",
]


@dataclass(frozen=True)
class Twins:
    """How to make random-init twins.

    build: seed → the encoder's architecture and contract with random weights, on the encoder's device.
    name: identifies architecture and device, so that features of twins can be kept; None: nothing is kept.
    """

    build: Callable[[int], Encoder]
    name: str | None = None
    memory: TwinMemory = field(default_factory=TwinMemory)


@dataclass(frozen=True)
class Keep:
    """Where features are kept between evaluations, and what names the encoder's weights there."""

    cache: FeatureCache
    identity: str


@dataclass(frozen=True)
class Evaluation:
    """The report, PNG pictures by file name, where the time of the encoder's own extraction went, and the exact
    objects of every draw."""

    report: EvaluationReport
    pictures: dict[str, bytes] = field(default_factory=dict)
    times: ExtractionTimes = field(default_factory=ExtractionTimes)
    objects: ObjectLists | None = None


def evaluate_encoder(
    encoder: Encoder,
    pack: Pack,
    config: EvaluationConfig,
    *,
    twins: Twins | None = None,
    title: str = "encoder",
    keep: Keep | None = None,
    partner: Partner | None = None,
) -> Evaluation:
    """Run the whole protocol.

    Args:
        encoder: of either modality, on any device; its mode and weights are left as they are.
        pack: its train objects (fit and val) are the probes' training set, its test objects are scored.
        config: the protocol.
        twins: makes the random-init twins; None leaves the comparison and the from-scratch control out.
        title: for the pictures.
        keep: where features are looked for first; None: all are computed.
        partner: of the other modality, for retrieval across modalities.

    Raises:
        InfeasibleError: the pack has no test objects, or cannot serve the encoder's contract.
    """
    start = time.perf_counter()
    labels, objects = _objects(pack)
    source = FeatureSource(pack, objects, encoder.contract, config, keep.cache if keep else None)
    times, identity = ExtractionTimes(), keep.identity if keep else ""
    raw = source.raw(encoder, times, identity)
    lists = object_lists(pack, config)
    report = _blank(source, raw, labels, lists)
    if not report.health.finite:
        return Evaluation(_timed(report, source, start), times=times, objects=lists)
    cells = source.pooled(raw)
    others = [_twin_cells(source, twins, seed) for seed in config.twin_seeds] if twins is not None else []
    report = report.model_copy(update=_probed(report, cells, others, labels))
    fresh = twins.build if twins is not None else None
    measured = measure_sections(Subject(encoder, identity, source, raw, labels, title, fresh, partner))
    report = report.model_copy(update={"sections": measured.reports, "section_seconds": measured.seconds})
    pictures = {**_pictures(report, _test_features(raw, labels), labels.test, title), **measured.pictures}
    return Evaluation(_timed(report, source, start), pictures, times, lists)


def _objects(pack: Pack) -> tuple[Labels, NDArray[np.int64]]:
    """Labels of train and test objects, and their indices, train first."""
    train, test = pack.objects("train"), pack.objects("test")
    if len(train) == 0 or len(test) == 0:
        raise InfeasibleError(
            f"pack {pack.path} has {len(train)} train and {len(test)} test objects; evaluation needs both, "
            "pack a data set with a train and a test split"
        )
    labels = Labels(pack.labels[train], pack.labels[test], len(pack.manifest.class_names))
    return labels, np.concatenate([train, test])


def _blank(source: FeatureSource, raw: RawFeatures, labels: Labels, lists: ObjectLists) -> EvaluationReport:
    """The report before anything was probed."""
    return EvaluationReport(
        modality=source.contract.modality,
        pack_digest=source.pack.manifest.pack_digest,
        config=source.config,
        class_names=tuple(source.pack.manifest.class_names),
        train_objects=len(labels.train),
        test_objects=len(labels.test),
        objects_digest=lists.digest(),
        max_views=None if raw.views is None else raw.views.shape[1],
        health=feature_health(_test_features(raw, labels), labels.test),
        rows=(),
        deciding=None,
        full_labels=None,
    )


def _test_features(raw: RawFeatures, labels: Labels) -> Features:
    """Of the first point draw, or of all views by their maximum."""
    test = raw.rows(slice(len(labels.train), None))
    return test.points[0] if test.views is None else pool(test.views, np.arange(test.views.shape[1]), "max")


def _probed(
    report: EvaluationReport, cells: PooledCells, others: list[PooledCells], labels: Labels
) -> dict[str, object]:
    """What the probes found: rows of every pooling, the rest of the maximum."""
    grids: dict[str | None, Grid] = {
        pooling: probe_grid(
            report.modality, some, [other[pooling] for other in others], labels, report.config, pooling or "max"
        )
        for pooling, some in cells.items()
    }
    grid = grids["max"] if "max" in grids else grids[None]
    return {
        "rows": tuple(row for one in grids.values() for row in one.rows),
        "deciding": grid.deciding,
        "full_labels": grid.full_labels,
        "confusion": tuple(tuple(row) for row in np.round(grid.confusion, 4).tolist()),
    }


def _twin_cells(source: FeatureSource, twins: Twins, seed: int) -> PooledCells:
    def compute() -> PooledCells:
        identity = f"twin {twins.name} {seed}" if twins.name is not None else ""
        return source.pooled(source.raw(twins.build(seed), identity=identity))

    if twins.name is None:
        return compute()
    config = source.config
    draws = f"{config.draw_seed} {config.point_draws} {config.views} {config.view_draws} {config.pooling}"
    key = (source.pack.manifest.pack_digest, source.contract.digest(), draws, twins.name, str(seed))
    return twins.memory.recall(key, compute)


def _timed(report: EvaluationReport, source: FeatureSource, start: float) -> EvaluationReport:
    seconds = round(time.perf_counter() - start, 3)
    return report.model_copy(update={"seconds": seconds, "extraction": source.log.report()})


def _pictures(report: EvaluationReport, features: Features, labels: NDArray[np.int64], title: str) -> dict[str, bytes]:
    counts = np.array(report.confusion)
    shown = report.full_labels.labels if report.full_labels is not None else "all"
    return {
        "embedding.png": embedding_png(features, labels, report.class_names, title),
        "pca.png": pca_png(features, labels, report.class_names, title),
        "confusion.png": confusion_png(counts, report.class_names, f"{title}: linear SVM, labels: {shown}"),
        "accuracy.png": accuracy_png(report, title),
    }
