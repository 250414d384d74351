"""The evaluation protocol: an encoder and its random-init twins on a pack's test split → report, pictures.

Features are computed once per encoder and draw and reused by every probe, label setting and label draw.
Training objects are fit and validation together; test objects are touched here and nowhere else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.curves import accuracy_png
from registry.features import FeatureSource, TwinMemory
from registry.probing import Cells, Features, Labels, feature_health, probe_grid
from registry.reports import EvaluationConfig, EvaluationReport, LabelSetting, Row
from ssl_core.data.pack import Pack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.embedding_plot import confusion_png, embedding_png
from ssl_core.evaluation.extract import ExtractionTimes
from ssl_core.models.encoder import Encoder

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "EvaluationReport",
    "LabelSetting",
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
class Evaluation:
    """The report, PNG pictures by file name, and where the time of the encoder's own extraction went."""

    report: EvaluationReport
    pictures: dict[str, bytes] = field(default_factory=dict)
    times: ExtractionTimes = field(default_factory=ExtractionTimes)


def evaluate_encoder(
    encoder: Encoder,
    pack: Pack,
    config: EvaluationConfig,
    *,
    twins: Twins | None = None,
    title: str = "encoder",
) -> Evaluation:
    """Run the whole protocol.

    Args:
        encoder: of either modality, on any device; its mode and weights are left as they are.
        pack: its train objects (fit and val) are the probes' training set, its test objects are scored.
        config: the protocol.
        twins: makes the random-init twins; None leaves the comparison out.
        title: for the pictures.

    Raises:
        InfeasibleError: the pack has no test objects, or cannot serve the encoder's contract.
    """
    start = time.perf_counter()
    labels, objects = _objects(pack)
    source = FeatureSource(pack, objects, encoder.contract, config)
    times = ExtractionTimes()
    cells = source.cells(encoder, times)
    most_views = max(cells, key=lambda views: views or 0)
    test_features = cells[most_views][0][len(labels.train) :]
    empty = EvaluationReport(
        modality=encoder.contract.modality,
        pack_digest=pack.manifest.pack_digest,
        config=config,
        class_names=tuple(pack.manifest.class_names),
        train_objects=len(labels.train),
        test_objects=len(labels.test),
        max_views=most_views,
        health=feature_health(test_features, labels.test),
        rows=(),
        deciding=None,
        full_labels=None,
        seconds=time.perf_counter() - start,
    )
    if not empty.health.finite:
        return Evaluation(empty, times=times)
    others = [_twin_cells(source, twins, seed) for seed in config.twin_seeds] if twins is not None else []
    grid = probe_grid(empty.modality, cells, others, labels, config)
    found = {
        "rows": grid.rows,
        "deciding": grid.deciding,
        "full_labels": grid.full_labels,
        "confusion": tuple(tuple(row) for row in np.round(grid.confusion, 4).tolist()),
        "seconds": time.perf_counter() - start,
    }
    report = empty.model_copy(update=found)
    return Evaluation(report, _pictures(report, test_features, labels.test, title), times)


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


def _twin_cells(source: FeatureSource, twins: Twins, seed: int) -> Cells:
    if twins.name is None:
        return source.cells(twins.build(seed))
    config = source.config
    draws = f"{config.point_draws} {config.views} {config.view_draws}"
    key = (source.pack.manifest.pack_digest, source.contract.digest(), draws, twins.name, str(seed))
    return twins.memory.recall(key, lambda: source.cells(twins.build(seed)))


def _pictures(report: EvaluationReport, features: Features, labels: NDArray[np.int64], title: str) -> dict[str, bytes]:
    counts = np.array(report.confusion)
    shown = report.full_labels.labels if report.full_labels is not None else "all"
    return {
        "embedding.png": embedding_png(features, labels, report.class_names, title),
        "confusion.png": confusion_png(counts, report.class_names, f"{title}: linear SVM, labels: {shown}"),
        "accuracy.png": accuracy_png(report, title),
    }
