"""Frozen features of packed objects, computed once and reused by every probe."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.data.augment import resize, to_float
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import ConfigError
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract

Features = NDArray[np.float32]
_POINT_BATCH = 32  # PointNet++ MSG needs a gigabyte or two at this size
_IMAGE_BATCH = 128


def point_features(
    encoder: Encoder, pack: Pack, objects: NDArray[np.int64], draw: int, *, sampler: PointSampler | None = None
) -> Features:
    """[len(objects), F] features of one point draw; the same draw gives the same points.

    Raises:
        InfeasibleError: the pack cannot serve the encoder's contract.
        ConfigError: the encoder does not read points.
    """
    if not isinstance(encoder.contract, PointsContract):
        raise ConfigError("point features were asked of an image encoder")
    sampler = sampler or PointSampler(pack, encoder.contract, objects)
    device = _device(encoder)
    parts = []
    with _evaluating(encoder):
        for start in range(0, len(objects), _POINT_BATCH):
            x = torch.from_numpy(sampler.draw(objects[start : start + _POINT_BATCH], draw)).to(device)
            parts.append(encoder(x).float().cpu().numpy())
    return np.concatenate(parts)


def image_features(encoder: Encoder, pack: Pack, objects: NDArray[np.int64], *, views: int | None = None) -> Features:
    """[len(objects), V, F] features of the first V views; V is `views`, or what every object has.

    When an object has more than V views, they are taken evenly spaced over its views.
    """
    contract = encoder.contract
    if not isinstance(contract, ImageContract):
        raise ConfigError("image features were asked of a point encoder")
    available = int(pack.num_views[objects].min())
    count = available if views is None else min(views, available)
    spaced = (np.arange(count)[None] * pack.num_views[objects][:, None]) // count
    index = (pack.first_view[objects][:, None] + spaced).reshape(-1)
    device = _device(encoder)
    parts = []
    with _evaluating(encoder):
        for start in range(0, len(index), _IMAGE_BATCH):
            raw = torch.from_numpy(pack.views[index[start : start + _IMAGE_BATCH]]).to(device)
            parts.append(encoder(resize(to_float(raw), contract.image_size)).float().cpu().numpy())
    return np.concatenate(parts).reshape(len(objects), count, -1)


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the module's own mode afterwards."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(training)


def _device(module: torch.nn.Module) -> torch.device:
    return next(module.parameters()).device
