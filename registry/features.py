"""Features of a set of objects under one contract: same points and views for an encoder and its twins."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.probing import Cells, Features
from registry.reports import EvaluationConfig
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import ExtractionTimes, image_features, point_features
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract

MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class FeatureSource:
    """Computes cells (see `registry.probing`) of encoders that share `contract`."""

    pack: Pack
    objects: NDArray[np.int64]
    contract: PointsContract | ImageContract
    config: EvaluationConfig
    _samplers: list[PointSampler] = field(default_factory=list)

    def cells(self, encoder: Encoder, times: ExtractionTimes | None = None) -> Cells:
        """Cells of one encoder; what extraction took is added to `times`.

        Raises InfeasibleError if the pack cannot serve the contract.
        """
        times = times or ExtractionTimes()
        match self.contract:
            case PointsContract():
                sampler = self._sampler(self.contract, times)
                draws = range(self.config.point_draws)
                return {
                    None: [
                        point_features(encoder, self.pack, self.objects, draw, sampler=sampler, times=times)
                        for draw in draws
                    ]
                }
            case ImageContract():
                return self._image_cells(image_features(encoder, self.pack, self.objects, times=times))

    def _sampler(self, contract: PointsContract, times: ExtractionTimes) -> PointSampler:
        """Made once: an encoder and its twins see the same points."""
        if not self._samplers:
            began = time.perf_counter()
            self._samplers.append(PointSampler(self.pack, contract, self.objects))
            times.data += time.perf_counter() - began
        return self._samplers[0]

    def _image_cells(self, features: Features) -> Cells:
        """[objects, V, F] → per number of views, elementwise maximum over each subset of that size."""
        available = features.shape[1]
        counts = sorted({views for views in self.config.views if 1 <= views < available} | {available})
        draws = self.config.view_draws
        return {
            count: [max_pooled(features, subset) for subset in view_subsets(available, count, draws)]
            for count in counts
        }


def max_pooled(features: Features, subset: NDArray[np.int64]) -> Features:
    """[objects, V, F] and some views → [objects, F], their elementwise maximum, without a copy of their features."""
    pooled = features[:, subset[0]].copy()
    for view in subset[1:]:
        np.maximum(pooled, features[:, view], out=pooled)
    return pooled


def view_subsets(available: int, wanted: int, draws: int) -> list[NDArray[np.int64]]:
    """Which views stand for `wanted` of `available`: seeded subsets, the larger ones contain the smaller.

    All views can be taken in one way only; then there is one subset, whatever `draws` says.
    """
    if wanted >= available:
        return [np.arange(available)]
    orders = [np.random.default_rng([17, draw]).permutation(available) for draw in range(draws)]
    return [np.sort(order[:wanted]) for order in orders]


class TwinMemory:
    """Cells of random twins, kept for the next encoder of the same architecture: a study registers several.

    What is kept is bounded; the oldest goes first. The same key always means the same features.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[tuple[str, ...], Cells] = OrderedDict()

    def recall(self, key: tuple[str, ...], compute: Callable[[], Cells]) -> Cells:
        """The cells kept under `key`, else computed and kept."""
        if key not in self._kept:
            self._kept[key] = compute()
        self._kept.move_to_end(key)
        cells = self._kept[key]
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > self._limit:
            self._kept.popitem(last=False)
        return cells


def _size(cells: Cells) -> int:
    return sum(draw.nbytes for draws in cells.values() for draw in draws)
