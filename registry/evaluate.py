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
from registry.probing import Cells, Features, Labels, feature_health, probe_grid
from registry.reports import EvaluationConfig, EvaluationReport, LabelSetting, Row
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.embedding_plot import confusion_png, embedding_png
from ssl_core.evaluation.extract import image_features, point_features
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract

__all__ = ["Evaluation", "EvaluationConfig", "EvaluationReport", "LabelSetting", "Row", "evaluate_encoder"]

TwinBuilder = Callable[[int], Encoder]
"""seed → the same architecture and contract with random weights, on the encoder's device"""


@dataclass(frozen=True)
class Evaluation:
    """The report, and PNG pictures by file name."""

    report: EvaluationReport
    pictures: dict[str, bytes] = field(default_factory=dict)


def evaluate_encoder(
    encoder: Encoder,
    pack: Pack,
    config: EvaluationConfig,
    *,
    twin: TwinBuilder | None = None,
    title: str = "encoder",
) -> Evaluation:
    """Run the whole protocol.

    Args:
        encoder: of either modality, on any device; its mode and weights are left as they are.
        pack: its train objects (fit and val) are the probes' training set, its test objects are scored.
        config: the protocol.
        twin: builds the random-init twins; None leaves the comparison out.
        title: for the pictures.

    Raises:
        InfeasibleError: the pack has no test objects, or cannot serve the encoder's contract.
    """
    start = time.perf_counter()
    train, test = pack.objects("train"), pack.objects("test")
    if len(train) == 0 or len(test) == 0:
        raise InfeasibleError(
            f"pack {pack.path} has {len(train)} train and {len(test)} test objects; evaluation needs both, "
            "pack a data set with a train and a test split"
        )
    names = tuple(pack.manifest.class_names)
    labels = Labels(pack.labels[train], pack.labels[test], len(names))
    objects = np.concatenate([train, test])
    source = _FeatureSource(pack, objects, encoder.contract, config)
    cells = source.cells(encoder)
    most_views = max(cells, key=lambda views: views or 0)
    test_features = cells[most_views][0][len(train) :]
    health = feature_health(test_features, labels.test)
    base = EvaluationReport(
        modality=encoder.contract.modality,
        pack_digest=pack.manifest.pack_digest,
        config=config,
        class_names=names,
        train_objects=len(train),
        test_objects=len(test),
        max_views=most_views,
        health=health,
        rows=(),
        deciding=None,
        full_labels=None,
    )
    if not health.finite:
        return Evaluation(base.model_copy(update={"seconds": time.perf_counter() - start}))
    twins = [source.cells(twin(seed)) for seed in config.twin_seeds] if twin is not None else []
    grid = probe_grid(base.modality, cells, twins, labels, config)
    report = base.model_copy(
        update={
            "rows": grid.rows,
            "deciding": grid.deciding,
            "full_labels": grid.full_labels,
            "confusion": tuple(tuple(row) for row in np.round(grid.confusion, 4).tolist()),
            "seconds": time.perf_counter() - start,
        }
    )
    return Evaluation(report, _pictures(report, test_features, labels.test, title))


def view_subsets(available: int, wanted: int, draws: int) -> list[NDArray[np.int64]]:
    """Which views stand for `wanted` of `available`: seeded subsets, the larger ones contain the smaller.

    All views can be taken in one way only; then there is one subset, whatever `draws` says.
    """
    if wanted >= available:
        return [np.arange(available)]
    return [
        np.sort(np.random.default_rng([17, draw]).permutation(available)[:wanted]) for draw in range(draws)
    ]


@dataclass(frozen=True)
class _FeatureSource:
    """The same objects, points and views for the encoder and its twins."""

    pack: Pack
    objects: NDArray[np.int64]
    contract: PointsContract | ImageContract
    config: EvaluationConfig
    _sampler: list[PointSampler] = field(default_factory=list)

    def cells(self, encoder: Encoder) -> Cells:
        match self.contract:
            case PointsContract():
                if not self._sampler:
                    self._sampler.append(PointSampler(self.pack, self.contract, self.objects))
                sampler = self._sampler[0]
                draws = range(self.config.point_draws)
                return {
                    None: [
                        point_features(encoder, self.pack, self.objects, d, sampler=sampler) for d in draws
                    ]
                }
            case ImageContract():
                return self._image_cells(image_features(encoder, self.pack, self.objects))

    def _image_cells(self, features: Features) -> Cells:
        """[objects, V, F] → per number of views, elementwise maximum over each subset of that size."""
        available = features.shape[1]
        counts = sorted({views for views in self.config.views if 1 <= views < available} | {available})
        return {
            count: [
                features[:, subset].max(axis=1)
                for subset in view_subsets(available, count, self.config.view_draws)
            ]
            for count in counts
        }


def _pictures(
    report: EvaluationReport, features: Features, labels: NDArray[np.int64], title: str
) -> dict[str, bytes]:
    counts = np.array(report.confusion)
    shown = report.full_labels.labels if report.full_labels is not None else "all"
    return {
        "embedding.png": embedding_png(features, labels, report.class_names, title),
        "confusion.png": confusion_png(counts, report.class_names, f"{title}: linear SVM, labels: {shown}"),
        "accuracy.png": accuracy_png(report, title),
    }
