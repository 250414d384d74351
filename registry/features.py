"""Features of a set of objects under one contract: same points and views for an encoder and its twins."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.probing import Cells, Features
from registry.reports import EvaluationConfig
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import image_features, point_features
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract

MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class FeatureSource:
    """Computes cells (see `registry.probing`) of encoders that share `contract`."""

    pack: Pack
    objects: NDArray[np.int64]
    contract: PointsContract | ImageContract
    config: EvaluationConfig
    _sampler: list[PointSampler] = field(default_factory=list)

    def cells(self, encoder: Encoder) -> Cells:
        """Raises InfeasibleError if the pack cannot serve the contract."""
        match self.contract:
            case PointsContract():
                if not self._sampler:
                    self._sampler.append(PointSampler(self.pack, self.contract, self.objects))
                return {None: [self._points(encoder, draw) for draw in range(self.config.point_draws)]}
            case ImageContract():
                return self._image_cells(image_features(encoder, self.pack, self.objects))

    def _points(self, encoder: Encoder, draw: int) -> Features:
        return point_features(encoder, self.pack, self.objects, draw, sampler=self._sampler[0])

    def _image_cells(self, features: Features) -> Cells:
        """[objects, V, F] → per number of views, elementwise maximum over each subset of that size."""
        available = features.shape[1]
        counts = sorted({views for views in self.config.views if 1 <= views < available} | {available})
        draws = self.config.view_draws
        return {
            count: [features[:, subset].max(axis=1) for subset in view_subsets(available, count, draws)]
            for count in counts
        }


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
