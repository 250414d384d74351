"""Features of a set of objects under one contract: same points and views for an encoder and its twins."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from registry.evaluation.feature_cache import ExtractionLog, FeatureCache, FeatureKey, indices_digest, timed
from registry.evaluation.probing import Cells, Features
from registry.evaluation.protocol import EvaluationConfig, Pooling
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import ExtractionTimes, image_features, point_features
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract
from ssl_core.models.modes import device_of

MEMORY_BYTES = 512 * 2**20
PooledCells = Mapping[Pooling | None, Cells]
"""how views are pooled (None: points) → cells"""


@dataclass(frozen=True)
class RawFeatures:
    """Of one encoder, before anything is pooled: points as an array [objects, F] per draw, or views [objects, V, F]."""

    points: Sequence[Features] = ()
    views: Features | None = None

    def rows(self, some: slice) -> "RawFeatures":
        """Of some of the objects; no copy."""
        return RawFeatures([draw[some] for draw in self.points], None if self.views is None else self.views[some])


@dataclass(frozen=True)
class FeatureSource:
    """Computes features of encoders that share `contract`, or reads them where they were kept.

    cache: where features are kept between evaluations; None: nowhere.
    log: what was computed and what was kept.
    """

    pack: Pack
    objects: NDArray[np.int64]
    contract: PointsContract | ImageContract
    config: EvaluationConfig
    cache: FeatureCache | None = None
    log: ExtractionLog = field(default_factory=ExtractionLog)
    _samplers: list[PointSampler] = field(default_factory=list)

    def cells(self, encoder: Encoder, times: ExtractionTimes | None = None, identity: str = "") -> Cells:
        """Cells (see `probing`) of one encoder; views by their maximum. Arguments and errors as `raw`."""
        pooled = self.pooled(self.raw(encoder, times, identity))
        return pooled["max"] if "max" in pooled else pooled[None]

    def raw(self, encoder: Encoder, times: ExtractionTimes | None = None, identity: str = "") -> RawFeatures:
        """Features of one encoder; what extraction took is added to `times`.

        Args:
            encoder: of this source's contract.
            times: told apart by forward and data.
            identity: names the weights; features of an encoder without one are not kept.

        Raises InfeasibleError if the pack cannot serve the contract.
        """
        times = times or ExtractionTimes()
        match self.contract:
            case PointsContract():
                return RawFeatures(points=[self._points(encoder, draw, times, identity) for draw in self._numbers()])
            case ImageContract():

                def views() -> Features:
                    return image_features(encoder, self.pack, self.objects, times=times)

                return RawFeatures(views=self.recall("views", encoder, identity, views))

    def recall(self, what: str, encoder: Encoder, identity: str, compute: Callable[[], Features]) -> Features:
        """Features of all objects from the cache, else computed and kept; `what` tells apart what is computed."""
        if self.cache is None or not identity:
            return timed(compute, self.log)[0]
        key = FeatureKey(
            encoder=identity,
            contract=self.contract.digest(),
            pack=self.pack.manifest.pack_digest,
            objects=indices_digest(self.objects),
            what=what,
            device=device_of(encoder).type,
        )
        return self.cache.recall(key, compute, self.log)

    def pooled(self, raw: RawFeatures) -> PooledCells:
        """Cells by kind of pooling; one view is pooled in one way only, and stands with the maximum."""
        if raw.views is None:
            return {None: {None: list(raw.points)}}
        available = raw.views.shape[1]
        counts = sorted({views for views in self.config.views if 1 <= views < available} | {available})
        found: dict[Pooling | None, Cells] = {}
        for pooling in sorted(self.config.pooling):
            kept = [count for count in counts if pooling == "max" or count > 1]
            if kept:
                found[pooling] = {count: self._subsets(raw.views, count, pooling) for count in kept}
        return found

    def sampler(self, times: ExtractionTimes | None = None) -> PointSampler:
        """Of a points contract; made once: an encoder and its twins see the same points."""
        assert isinstance(self.contract, PointsContract)
        if not self._samplers:
            began = time.perf_counter()
            self._samplers.append(PointSampler(self.pack, self.contract, self.objects))
            if times is not None:
                times.data += time.perf_counter() - began
        return self._samplers[0]

    def _numbers(self) -> list[int]:
        return [self.config.point_number(draw) for draw in range(self.config.point_draws)]

    def _points(self, encoder: Encoder, number: int, times: ExtractionTimes, identity: str) -> Features:
        def compute() -> Features:
            sampler = self.sampler(times)
            return point_features(encoder, self.pack, self.objects, number, sampler=sampler, times=times)

        return self.recall(f"points {number}", encoder, identity, compute)

    def _subsets(self, views: Features, count: int, pooling: Pooling) -> list[Features]:
        seeds = [self.config.view_seed(draw) for draw in range(self.config.view_draws)]
        return [pool(views, subset, pooling) for subset in view_subsets(views.shape[1], count, seeds)]


def pool(features: Features, subset: NDArray[np.int64], pooling: Pooling) -> Features:
    """[objects, V, F] and some views → [objects, F]."""
    match pooling:
        case "max":
            return max_pooled(features, subset)
        case "mean":
            pooled = features[:, subset[0]].astype(np.float32)
            for view in subset[1:]:
                pooled += features[:, view]
            return pooled / np.float32(len(subset))


def max_pooled(features: Features, subset: NDArray[np.int64]) -> Features:
    """[objects, V, F] and some views → [objects, F], their elementwise maximum, without a copy of their features."""
    pooled = features[:, subset[0]].copy()
    for view in subset[1:]:
        np.maximum(pooled, features[:, view], out=pooled)
    return pooled


def view_subsets(available: int, wanted: int, draws: int | Sequence[int]) -> list[NDArray[np.int64]]:
    """Which views stand for `wanted` of `available`: seeded subsets, the larger ones contain the smaller.

    `draws` are the seeds, or their number counted from 0. All views can be taken in one way only; then there is one
    subset, whatever `draws` says.
    """
    if wanted >= available:
        return [np.arange(available)]
    seeds = range(draws) if isinstance(draws, int) else draws
    orders = [np.random.default_rng([17, seed]).permutation(available) for seed in seeds]
    return [np.sort(order[:wanted]) for order in orders]


class TwinMemory:
    """Cells of random twins, kept for the next encoder of the same architecture: a study registers several.

    What is kept is bounded; the oldest goes first. The same key always means the same features.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: OrderedDict[tuple[str, ...], PooledCells] = OrderedDict()

    def recall(self, key: tuple[str, ...], compute: Callable[[], PooledCells]) -> PooledCells:
        """The cells kept under `key`, else computed and kept."""
        if key not in self._kept:
            self._kept[key] = compute()
        self._kept.move_to_end(key)
        cells = self._kept[key]
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > self._limit:
            self._kept.popitem(last=False)
        return cells


def _size(pooled: PooledCells) -> int:
    return sum(draw.nbytes for cells in pooled.values() for draws in cells.values() for draw in draws)
