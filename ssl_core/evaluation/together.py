"""Several encoders over one stream of inputs: what is sampled, disturbed or rendered is made once for all of them.

For an encoder and its random twins, which read the same contract. Only features stay in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.augment import whole_images
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import ConfigError
from ssl_core.evaluation.robustness import DroppedPoints, Jitter, Turn, disturb
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract
from ssl_core.models.modes import device_of, evaluating

Features = NDArray[np.float32]
_AT_ONCE = 32


def features_together(encoders: Sequence[Encoder], batches: Iterable[Tensor]) -> list[Features]:
    """Features [rows, F] of each encoder over all batches [b, ...]; modes and weights are left as they are."""
    assert encoders, "no encoder"
    parts: list[list[Features]] = [[] for _ in encoders]
    with ExitStack() as stack:
        for encoder in encoders:
            stack.enter_context(evaluating(encoder))
        for batch in batches:
            for encoder, found in zip(encoders, parts, strict=True):
                found.append(encoder(batch.to(device_of(encoder))).float().cpu().numpy())
    return [np.concatenate(found) for found in parts]


def disturbed_point_features(
    encoders: Sequence[Encoder],
    pack: Pack,
    objects: NDArray[np.int64],
    draw: int,
    disturbance: DroppedPoints | Jitter | Turn,
    *,
    sampler: PointSampler | None = None,
) -> list[Features]:
    """Features [len(objects), F] of each encoder, from the points of one draw, disturbed.

    The draw is that of `extract.point_features`, and decides what is random in the disturbance as well.

    Args:
        encoders: of points, all of one contract.
        pack: what is read.
        objects: indices into the pack.
        draw: number of the point draw.
        disturbance: kind and level.
        sampler: of the contract, when there is one already.

    Raises:
        InfeasibleError: the pack cannot serve the contract, or the contract cannot be turned.
        ConfigError: the encoders do not read points, or not the same.
    """
    contract = _contract(encoders)
    if not isinstance(contract, PointsContract):
        raise ConfigError("disturbed points were asked of an image encoder")
    ready = sampler or PointSampler(pack, contract, objects)
    generator = torch.Generator().manual_seed(int(np.random.default_rng([29, draw]).integers(2**62)))

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(objects), _AT_ONCE):
            points = torch.from_numpy(ready.draw(objects[start : start + _AT_ONCE], draw))
            yield disturb(points, contract, disturbance, generator)

    return features_together(encoders, batches())


def view_features(encoders: Sequence[Encoder], views: Iterable[NDArray[np.uint8]]) -> list[Features]:
    """Features [n, V, F] of each encoder, from the views of each object in turn, uint8 [V, 3, H, W].

    Raises:
        ConfigError: the encoders do not read images, or not the same.
    """
    contract = _contract(encoders)
    if not isinstance(contract, ImageContract):
        raise ConfigError("features of views were asked of a point encoder")
    counts: list[int] = []

    def batches() -> Iterator[Tensor]:
        for stored in views:
            counts.append(len(stored))
            yield whole_images(torch.from_numpy(stored), contract.image_size)

    flat = features_together(encoders, batches())
    assert len(set(counts)) == 1, "every object has as many views"
    return [features.reshape(len(counts), counts[0], -1) for features in flat]


def _contract(encoders: Sequence[Encoder]) -> PointsContract | ImageContract:
    contract = encoders[0].contract
    if any(other.contract != contract for other in encoders):
        raise ConfigError("encoders that are measured together must have the same input contract")
    return contract
