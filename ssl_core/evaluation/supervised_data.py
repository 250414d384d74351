"""Labelled objects of a pack as training batches and test inputs, for `fine_tuning`.

Points are sampled anew each epoch; of its views each object gives a random one, cropped and mirrored at random. Batches
of an epoch differ in size by one at most: no object is left out, and none stands alone in a batch, where batch
normalisation has nothing to go by.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ssl_core.config import Config
from ssl_core.contracts import ImageContract
from ssl_core.data.augment import random_resized_crop, whole_images
from ssl_core.data.backgrounds import views_over
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import Features
from ssl_core.evaluation.features import FeatureSource
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard

Indices = NDArray[np.int64]
_TOO_FEW = "fine-tuning needs two labelled objects and a test object at least, got {} and {}"
_AT_ONCE = 32
"""Test inputs in a batch, draws and views counted"""


class SupervisedConfig(Config):
    """How objects become inputs."""

    batch_size: int = Field(default=32, ge=2)
    crop_min_scale: float = Field(default=0.5, gt=0, le=1, description="smallest share of a training view")
    test_draws: int = Field(default=3, ge=1, description="point draws of a test object; their logits are averaged")
    test_views: int = Field(default=8, ge=1, description="views of a test object; their logits are averaged")


class SupervisedData(Protocol):
    """Labelled inputs for one encoder's contract."""

    steps: int
    """batches of an epoch"""

    def train_batches(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs [B, ...] and labels [B] int64: every labelled object once, in an order and with inputs drawn anew for
        each epoch, the same whenever that epoch is asked for."""

    def test_batches(self) -> Iterable[Tensor]:
        """Inputs [b, R, ...]: R draws or views of each test object, in the order of the test objects."""


def supervised_data(
    source: FeatureSource, train: Indices, test: Indices, config: SupervisedConfig, seed: int
) -> SupervisedData:
    """Batches of the labelled objects `train` and the objects to classify `test` (indices into the source's pack).

    The seed decides the order of the objects, the points, the views and the crops.

    Raises InfeasibleError: fewer than two labelled objects, no test object, no views, or the pack cannot serve the
    contract.
    """
    if len(train) < 2 or len(test) == 0:
        raise InfeasibleError(_TOO_FEW.format(len(train), len(test)))
    match source.card:
        case PointEncoderCard():
            return SupervisedPoints(source.pack, source.sampler, train, test, config, seed)
        case ImageEncoderCard(contract=contract):
            return SupervisedViews(source.pack, contract, train, test, config, seed)
        case _:
            assert_never(source.card)


class SupervisedPoints:
    """Points of labelled objects, drawn anew each epoch."""

    def __init__(
        self, pack: Pack, sampler: PointSampler, train: Indices, test: Indices, config: SupervisedConfig, seed: int
    ) -> None:
        self._pack, self._sampler, self._train, self._test = pack, sampler, train, test
        self._config, self._seed = config, seed
        self.steps = _steps(len(train), config.batch_size)

    def train_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """[B, N, D] float32 and [B]."""
        rng = np.random.default_rng([self._seed, 3, epoch])
        for objects in np.array_split(rng.permutation(self._train), self.steps):
            points = torch.from_numpy(self._sampler.sample(objects, rng))
            yield points, torch.from_numpy(self._pack.labels[objects])

    def test_batches(self) -> Iterator[Tensor]:
        """[b, R, N, D]: point draws 0 to R - 1, the same as the probes' draws."""
        draws = range(self._config.test_draws)
        for objects in _blocks(self._test, max(1, _AT_ONCE // len(draws))):
            yield torch.from_numpy(np.stack([self._sampler.draw(objects, draw) for draw in draws], axis=1))


class SupervisedViews:
    """Views of labelled objects: each epoch another one of each, cropped."""

    def __init__(
        self, pack: Pack, contract: ImageContract, train: Indices, test: Indices, config: SupervisedConfig, seed: int
    ) -> None:
        fewest = int(pack.num_views[np.concatenate([train, test])].min())
        if fewest == 0:
            raise InfeasibleError("fine-tuning an image encoder needs a view of each object; pack images too")
        self._pack, self._train, self._test = pack, train, test
        self._size, self._background = contract.image_size, contract.background
        self._config, self._seed = config, seed
        self._views = min(config.test_views, fewest)
        self.steps = _steps(len(train), config.batch_size)

    def train_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """[B, 3, S, S] float32 in [0, 1] and [B]."""
        pack = self._pack
        rng = np.random.default_rng([self._seed, 3, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for objects in np.array_split(rng.permutation(self._train), self.steps):
            views = pack.first_view[objects] + rng.integers(0, pack.num_views[objects])
            stored = views_over(pack, views, self._background)
            cropped = random_resized_crop(stored, self._size, self._config.crop_min_scale, generator)
            yield cropped, torch.from_numpy(pack.labels[objects])

    def test_batches(self) -> Iterator[Tensor]:
        """[b, R, 3, S, S]: R views evenly spaced over those of each object, whole."""
        pack, count = self._pack, self._views
        for objects in _blocks(self._test, max(1, _AT_ONCE // count)):
            spaced = (np.arange(count)[None] * pack.num_views[objects][:, None]) // count
            index = (pack.first_view[objects][:, None] + spaced).reshape(-1)
            images = whole_images(views_over(pack, index, self._background), self._size)
            yield images.unflatten(0, (len(objects), count))


class SupervisedFeatures:
    """Features of the network under a read-out, computed once: each epoch those of another view of each object.

    Args:
        features: [objects, V, F] of every view. labels: [objects] of those that may carry one.
        train, test: places in `features`.
    """

    def __init__(
        self,
        features: Features,
        labels: Indices,
        train: Indices,
        test: Indices,
        config: SupervisedConfig,
        seed: int,
    ) -> None:
        if len(train) < 2 or len(test) == 0:
            raise InfeasibleError(_TOO_FEW.format(len(train), len(test)))
        self._features, self._labels, self._train, self._test = features, labels, train, test
        self._config, self._seed = config, seed
        self.steps = _steps(len(train), config.batch_size)

    def train_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """[B, F] float32 and [B]."""
        rng = np.random.default_rng([self._seed, 3, epoch])
        for objects in np.array_split(rng.permutation(self._train), self.steps):
            views = rng.integers(0, self._features.shape[1], size=len(objects))
            yield torch.from_numpy(self._features[objects, views]), torch.from_numpy(self._labels[objects])

    def test_batches(self) -> Iterator[Tensor]:
        """[b, R, F]: R views evenly spaced over those of each object."""
        available = self._features.shape[1]
        count = min(self._config.test_views, available)
        views = (np.arange(count) * available) // count
        for objects in _blocks(self._test, max(1, _AT_ONCE // count)):
            yield torch.from_numpy(self._features[objects][:, views])


def _steps(objects: int, batch_size: int) -> int:
    """Batches of an epoch: of `batch_size` at most, unless that left an object alone."""
    return max(1, min(-(-objects // batch_size), objects // 2))


def _blocks(objects: Indices, size: int) -> Iterator[Indices]:
    for start in range(0, len(objects), size):
        yield objects[start : start + size]
