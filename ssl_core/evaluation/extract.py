"""Frozen features of packed objects, computed once and reused by every probe.

Each object's points (of one point draw) and each view go through the encoder once. Inputs stream from the pack in
batches; only features stay in memory.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.augment import whole_images
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.errors import ConfigError
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract
from ssl_core.models.modes import device_of, evaluating

Features = NDArray[np.float32]
_POINT_BATCH = 32  # PointNet++ MSG needs a gigabyte or two at this size
_IMAGE_BATCH = 64


@dataclass
class ExtractionTimes:
    """Where the time of extractions went, in seconds; several may be added up in one.

    forward: encoder, and features back to the CPU.
    data: reading from the pack (points: sampling, views: decoding), and bringing it to the encoder's contract.
    """

    forward: float = 0.0
    data: float = 0.0

    @property
    def forward_share(self) -> float:
        """In [0, 1]; 0 before anything was extracted."""
        total = self.forward + self.data
        return self.forward / total if total > 0 else 0.0


def point_features(
    encoder: Encoder,
    pack: Pack,
    objects: NDArray[np.int64],
    draw: int,
    *,
    sampler: PointSampler | None = None,
    times: ExtractionTimes | None = None,
) -> Features:
    """[len(objects), F] features of one point draw; the same draw gives the same points.

    Args:
        encoder: of points; its mode and weights are left as they are.
        pack: what is read.
        objects: indices into the pack.
        draw: number of the point draw.
        sampler: of the encoder's contract, when there is one already.
        times: what this took is added to it.

    Raises:
        InfeasibleError: the pack cannot serve the encoder's contract.
        ConfigError: the encoder does not read points.
    """
    if not isinstance(encoder.contract, PointsContract):
        raise ConfigError("point features were asked of an image encoder")
    ready = sampler or PointSampler(pack, encoder.contract, objects)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(objects), _POINT_BATCH):
            yield torch.from_numpy(ready.draw(objects[start : start + _POINT_BATCH], draw)).to(device_of(encoder))

    return _encoded(encoder, batches(), times or ExtractionTimes())


def image_features(
    encoder: Encoder,
    pack: Pack,
    objects: NDArray[np.int64],
    *,
    views: int | None = None,
    times: ExtractionTimes | None = None,
) -> Features:
    """[len(objects), V, F] features of V views of each object; V is `views`, or what every object has.

    When an object has more than V views, they are taken evenly spaced over its views. Arguments and errors are those of
    `point_features`.
    """
    contract = encoder.contract
    if not isinstance(contract, ImageContract):
        raise ConfigError("image features were asked of a point encoder")
    available = int(pack.num_views[objects].min())
    count = available if views is None else min(views, available)
    spaced = (np.arange(count)[None] * pack.num_views[objects][:, None]) // count
    index = (pack.first_view[objects][:, None] + spaced).reshape(-1)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(index), _IMAGE_BATCH):
            stored = torch.from_numpy(pack.views[index[start : start + _IMAGE_BATCH]]).to(device_of(encoder))
            yield whole_images(stored, contract.image_size)

    return _encoded(encoder, batches(), times or ExtractionTimes()).reshape(len(objects), count, -1)


def _encoded(encoder: Encoder, batches: Iterator[Tensor], times: ExtractionTimes) -> Features:
    """Features of all batches, [rows, F]; one batch is held at a time."""
    parts = []
    with evaluating(encoder):
        began = time.perf_counter()
        for batch in batches:
            arrived = time.perf_counter()
            times.data += arrived - began
            parts.append(encoder(batch).float().cpu().numpy())
            began = time.perf_counter()
            times.forward += began - arrived
    return np.concatenate(parts)
