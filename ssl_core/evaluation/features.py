"""Features of a set of objects under one contract: same points and views for an encoder and its twins."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import (
    ExtractionLog,
    ExtractionTimes,
    FeatureCache,
    FeatureKey,
    Features,
    image_features,
    indices_digest,
    point_batch_count,
    point_features,
    timed,
    view_batch_count,
)
from ssl_core.evaluation.frozen_network import frozen_identity, frozen_network, read_out
from ssl_core.evaluation.probe_grid import Cells
from ssl_core.evaluation.protocol import Pooling, ProbingConfig
from ssl_core.evaluation.report import Steps
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import device_of

EncoderCard = PointEncoderCard | ImageEncoderCard
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
    """Computes features of encoders that share the card's contract, or reads them where they were kept.

    cache: where features are kept between evaluations; None: nowhere.
    log: what was computed and what was kept.
    """

    pack: ObjectPack
    objects: NDArray[np.int64]
    card: EncoderCard
    config: ProbingConfig
    cache: FeatureCache | None = None
    log: ExtractionLog = field(default_factory=ExtractionLog)

    def raw(
        self, encoder: nn.Module, identity: str = "", times: ExtractionTimes | None = None, steps: Steps | None = None
    ) -> RawFeatures:
        """Features of one encoder of the card's contract. Raises InfeasibleError if the pack cannot serve it.

        `identity` names the weights; features of an encoder without one are not kept. What extraction took is added to
        `times`, `steps` hears of every batch (`batches` in all).
        """
        times, card = times or ExtractionTimes(), self.card
        match card:
            case PointEncoderCard():
                numbers = (self.config.point_number(draw) for draw in range(self.config.point_draws))
                return RawFeatures(points=[self._points(encoder, identity, number, times, steps) for number in numbers])
            case ImageEncoderCard():
                size, behind = card.contract.image_size, card.contract.background

                def compute(network: nn.Module) -> Features:
                    found: Features = image_features(
                        network, self.pack, self.objects, size, background=behind, times=times, steps=steps
                    )
                    return found

                return RawFeatures(views=self.of_images("views", encoder, identity, compute))
            case _:
                assert_never(card)

    def of_images(
        self, what: str, encoder: nn.Module, identity: str, compute: Callable[[nn.Module], Features]
    ) -> Features:
        """What `compute` gives of an image encoder, as `recall`. Encoders over the same frozen network share its
        features, which are kept in place of theirs."""
        parts = frozen_network(self.card, encoder)
        if parts is None:
            return self.recall(what, encoder, identity, partial(compute, encoder))
        network = parts.network
        under = self.recall(what, network, frozen_identity(network), partial(compute, network))
        return read_out(parts.read, under, device_of(network))

    def recall(self, what: str, encoder: nn.Module, identity: str, compute: Callable[[], Features]) -> Features:
        """Features of all objects from the cache, else computed and kept; `what` tells apart what is computed."""
        if self.cache is None or not identity:
            return timed(compute, self.log)[0]
        key = FeatureKey(
            encoder=identity,
            contract=self.card.contract.digest(),
            pack=self.pack.manifest.pack_digest,
            objects=indices_digest(self.objects),
            what=what,
            device=device_of(encoder).type,
        )
        return self.cache.recall(key, compute, self.log)

    def pooled(self, raw: RawFeatures) -> PooledCells:
        """Cells by kind of pooling; one view is pooled in one way only, and stands with the maximum."""
        views = raw.views
        if views is None:
            return {None: {None: list(raw.points)}}
        return {
            pooling: {count: self._subsets(views, count, pooling) for count in counts if count is not None}
            for pooling, counts in self.shape.items()
            if pooling is not None
        }

    @cached_property
    def shape(self) -> Mapping[Pooling | None, Mapping[int | None, int]]:
        """Kind of pooling → number of views → draws of `pooled`, before anything is computed."""
        match self.card:
            case PointEncoderCard():
                return {None: {None: self.config.point_draws}}
            case ImageEncoderCard():
                available = int(self.pack.num_views[self.objects].min())
                counts = sorted({views for views in self.config.views if 1 <= views < available} | {available})
                found: dict[Pooling | None, dict[int | None, int]] = {}
                for pooling in sorted(self.config.pooling):
                    kept = [count for count in counts if pooling == "max" or count > 1]
                    if kept:
                        found[pooling] = {n: self.config.view_draws if n < available else 1 for n in kept}
                return found
            case _:
                assert_never(self.card)

    @property
    def batches(self) -> int:
        """Of `raw`, where nothing was kept."""
        match self.card:
            case PointEncoderCard():
                return self.config.point_draws * point_batch_count(len(self.objects))
            case ImageEncoderCard():
                return view_batch_count(self.pack, self.objects)
            case _:
                assert_never(self.card)

    @cached_property
    def sampler(self) -> PointSampler:
        """Made once: an encoder and its twins see the same points. Raises InfeasibleError for images."""
        match self.card:
            case PointEncoderCard():
                return PointSampler(self.pack, self.card.contract, self.objects)
            case ImageEncoderCard():
                raise InfeasibleError("an image encoder reads no points")
            case _:
                assert_never(self.card)

    def _points(
        self, encoder: nn.Module, identity: str, number: int, times: ExtractionTimes, steps: Steps | None
    ) -> Features:
        def compute() -> Features:
            began = time.perf_counter()
            sampler = self.sampler
            times.data += time.perf_counter() - began
            return point_features(encoder, sampler, self.objects, number, times=times, steps=steps)

        return self.recall(f"points {number}", encoder, identity, compute)

    def _subsets(self, views: Features, count: int, pooling: Pooling) -> list[Features]:
        seeds = [self.config.view_seed(draw) for draw in range(self.config.view_draws)]
        return [pool(views, subset, pooling) for subset in view_subsets(views.shape[1], count, seeds)]


def pool(features: Features, subset: NDArray[np.int64], pooling: Pooling) -> Features:
    """[objects, V, F] and some views → [objects, F]."""
    match pooling:
        case "max":  # without a copy of all features
            pooled = features[:, subset[0]].copy()
            for view in subset[1:]:
                np.maximum(pooled, features[:, view], out=pooled)
            return pooled
        case "mean":
            pooled = features[:, subset[0]].astype(np.float32)
            for view in subset[1:]:
                pooled += features[:, view]
            return pooled / np.float32(len(subset))


def whole(raw: RawFeatures) -> Features:
    """[objects, F]: of the first point draw, or of all views by their maximum."""
    return raw.points[0] if raw.views is None else pool(raw.views, np.arange(raw.views.shape[1]), "max")


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
