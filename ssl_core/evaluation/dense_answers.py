"""Probes of some tokens, fitted on labelled views and asked about others: what the dense task and validation share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_data import depth_grid, known_depth, label_grid
from ssl_core.evaluation.dense_metrics import (
    DEPTH_METRICS,
    Counts,
    depth_errors,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
)
from ssl_core.evaluation.dense_probes import (
    DenseProbeConfig,
    DepthHead,
    LinearMap,
    fit_depth,
    fit_segmentation,
    segmented,
    with_whole,
)
from ssl_core.evaluation.label_metrics import Confusion

Chosen = NDArray[np.bool_]
"""[V] which of the views"""


@dataclass(frozen=True)
class DenseTruth:
    """Labels and depth of some views.

    Args:
        pack, views: of which; V of them.
        grid: (h, w) of their tokens.
        finer: points per token and side that probes are fitted on.
    """

    pack: ScenePack
    views: NDArray[np.int64]
    grid: tuple[int, int]
    finer: int = 2

    @cached_property
    def labels(self) -> Tensor | None:
        """[V, finer h, finer w] int64; None in a pack without classes."""
        return label_grid(self.pack, self.views, self._points)

    @cached_property
    def depth(self) -> Tensor | None:
        """[V, finer h, finer w]; None where no view has any."""
        return depth_grid(self.pack, self.views, self._points)

    @property
    def _points(self) -> tuple[int, int]:
        return self.finer * self.grid[0], self.finer * self.grid[1]

    def view(self, place: int) -> int:
        """Its index in the pack."""
        return int(self.views[place])


@dataclass(frozen=True)
class DenseAnswer:
    """What probes of several seeds (S) answered about some views (V).

    counts: [S, V, K, K] confusions; depth: each metric [S, V], NaN where a view's depth is unknown. heads: of the first
    seed. None, or empty, where the pack has no such truth.
    """

    counts: Counts | None
    depth: dict[str, NDArray[np.float64]]
    heads: tuple[LinearMap | None, DepthHead | None]

    @property
    def by_view(self) -> NDArray[np.float64]:
        """[V] what decides, higher is better: mean IoU over the classes that are in the view; without classes the share
        of pixels within 25 % of their depth. Mean over seeds; NaN for a view without truth."""
        if self.counts is not None:
            return np.asarray(mean_iou(self.counts).mean(axis=0))
        return np.asarray(self.depth["delta_1"].mean(axis=0))

    def metrics(self) -> dict[str, float]:
        """Over all views: mIoU, mAcc, aAcc of the summed confusions; each depth metric's mean over views."""
        found: dict[str, float] = {}
        if self.counts is not None:
            summed = self.counts.sum(axis=1)
            values = {"miou": mean_iou(summed), "macc": mean_accuracy(summed), "aacc": pixel_accuracy(summed)}
            found |= {name: float(value.mean()) for name, value in values.items()}
        return found | {name: float(np.nanmean(values)) for name, values in self.depth.items()}

    @property
    def score(self) -> float:
        """What a trial is chosen by: mIoU; without classes the share of pixels within 25 % of their depth."""
        return self.metrics()["miou" if self.counts is not None else "delta_1"]


def joined(answers: list[DenseAnswer]) -> DenseAnswer:
    """About the views of all of them, one after the other; the heads are the first one's."""
    counts = [each.counts for each in answers if each.counts is not None]
    depth = {name: np.concatenate([each.depth[name] for each in answers], axis=1) for name in answers[0].depth}
    return DenseAnswer(np.concatenate(counts, axis=1) if counts else None, depth, answers[0].heads)


def probed(
    tokens: tuple[Tensor, Tensor],
    truth: DenseTruth,
    chosen: tuple[Chosen, Chosen],
    config: DenseProbeConfig,
    seeds: tuple[int, ...],
    *,
    labels_alone: bool = False,
) -> DenseAnswer:
    """Fit on some of the views, ask about others.

    Args:
        tokens: of all of `truth`'s views [V, C, h, w], and the images' vectors [V, G], which depth is told from too.
        truth: of all views.
        chosen: which are fitted on, and which are asked about.
        config, seeds: of the probes.
        labels_alone: leave depth out where there are labels.

    Raises InfeasibleError: no view to be fitted on has labels or depth.
    """
    fit, test = chosen
    places = np.flatnonzero(test).tolist()
    both = with_whole(*tokens)
    counts: list[Counts] = []
    depth: dict[str, list[list[float]]] = {}
    heads: list[tuple[LinearMap | None, DepthHead | None]] = []
    for seed in seeds:
        labels, depths = _fitted(tokens[0], None if labels_alone else both, truth, fit, (config, seed))
        heads.append((labels, depths))
        if labels is not None:
            counts.append(np.stack([_counted(labels, tokens[0], truth, place) for place in places]))
        if depths is not None:
            errors = [_depth_errors(depths, both, truth, place) for place in places]
            for name in DEPTH_METRICS:
                depth.setdefault(name, []).append([each.get(name, np.nan) for each in errors])
    found = {name: np.array(values) for name, values in depth.items() if not np.isnan(values).all()}
    if not counts and not found:
        raise _without_truth(truth)
    return DenseAnswer(np.stack(counts) if counts else None, found, heads[0])


def _without_truth(truth: DenseTruth) -> InfeasibleError:
    return InfeasibleError(
        f"{truth.pack.path} has neither labels nor depth in the views that probes are fitted on and asked about; "
        "pack scenes with label maps or depth"
    )


def _fitted(
    tokens: Tensor, both: Tensor | None, truth: DenseTruth, fit: Chosen, how: tuple[DenseProbeConfig, int]
) -> tuple[LinearMap | None, DepthHead | None]:
    config, seed = how
    labels, depth = truth.labels, None if both is None else truth.depth
    head = None if labels is None else fit_segmentation(tokens[fit], labels[fit], len(truth.pack.classes), config, seed)
    known = depth is not None and int((depth[fit] > 0).sum()) > 1
    if both is None or depth is None or not known:
        return head, None
    return head, fit_depth(both[fit], depth[fit], config, seed)


def _counted(head: LinearMap, tokens: Tensor, truth: DenseTruth, place: int) -> Counts:
    labels = truth.pack.labels(truth.view(place))
    classes = len(truth.pack.classes)
    if labels is None:
        return np.zeros((classes, classes), np.int64)
    found = segmented(head, tokens[place : place + 1], (labels.shape[0], labels.shape[1]))[0].numpy().astype(np.uint8)
    return Confusion.of([(labels, found)], classes).counts[:, :-1]


def _depth_errors(head: DepthHead, tokens: Tensor, truth: DenseTruth, place: int) -> dict[str, float]:
    depth = truth.pack.depth(truth.view(place))
    if depth is None:
        return {}
    found = head(tokens[place : place + 1], (depth.shape[0], depth.shape[1]))[0].numpy()
    return depth_errors(known_depth(depth), found)
