"""Frozen features of packed objects, computed once and reused by every probe.

Each object's points (of one point draw) and each view go through the encoder once. Inputs stream from the pack in
batches; only features stay in memory.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.data.augment import whole_images
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.progress import Steps
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
    encoder: nn.Module,
    sampler: PointSampler,
    objects: NDArray[np.int64],
    draw: int,
    *,
    times: ExtractionTimes | None = None,
    steps: Steps | None = None,
) -> Features:
    """[len(objects), F] features of one point draw; the same draw gives the same points.

    Args:
        encoder: of points; its mode and weights are left as they are.
        sampler: of the encoder's contract.
        objects: indices into the sampler's pack.
        draw: number of the point draw.
        times: what this took is added to it.
        steps: told of every batch.
    """
    batches = (points.to(device_of(encoder)) for points in point_batches(sampler, objects, draw))
    return encoded(encoder, batches, times, steps)


def point_batches(sampler: PointSampler, objects: NDArray[np.int64], draw: int) -> Iterator[Tensor]:
    """The points of one draw, [b, N, D] on the CPU."""
    for start in range(0, len(objects), _POINT_BATCH):
        yield torch.from_numpy(sampler.draw(objects[start : start + _POINT_BATCH], draw))


def image_features(
    encoder: nn.Module,
    pack: Pack,
    objects: NDArray[np.int64],
    image_size: int,
    *,
    views: int | None = None,
    times: ExtractionTimes | None = None,
    steps: Steps | None = None,
) -> Features:
    """[len(objects), V, F] features of V views of each object; V is `views`, or what every object has.

    When an object has more than V views, they are taken evenly spaced over its views.

    Args:
        encoder: of images; its mode and weights are left as they are.
        pack: what is read.
        objects: indices into the pack.
        image_size: side in pixels that the encoder reads.
        views: at most so many of each object.
        times: what this took is added to it.
        steps: told of every batch.
    """
    available = int(pack.num_views[objects].min())
    count = available if views is None else min(views, available)
    spaced = (np.arange(count)[None] * pack.num_views[objects][:, None]) // count
    index = (pack.first_view[objects][:, None] + spaced).reshape(-1)
    stored = (
        torch.from_numpy(pack.views[index[start : start + _IMAGE_BATCH]]).to(device_of(encoder))
        for start in range(0, len(index), _IMAGE_BATCH)
    )
    batches = (whole_images(some, image_size) for some in stored)
    return encoded(encoder, batches, times, steps).reshape(len(objects), count, -1)


def encoded(
    encoder: nn.Module, batches: Iterable[Tensor], times: ExtractionTimes | None = None, steps: Steps | None = None
) -> Features:
    """Features of all batches, [rows, F]; one batch, which is on the encoder's device, is held at a time."""
    times, steps, parts = times or ExtractionTimes(), steps or Steps(), []
    with evaluating(encoder):
        began = time.perf_counter()
        for batch in batches:
            arrived = time.perf_counter()
            times.data += arrived - began
            parts.append(encoder(batch).float().cpu().numpy())
            began = time.perf_counter()
            times.forward += began - arrived
            steps.step()
    return np.concatenate(parts)


def point_batch_count(objects: int) -> int:
    """Batches of `point_features`."""
    return -(-objects // _POINT_BATCH)


def view_batch_count(pack: Pack, objects: NDArray[np.int64]) -> int:
    """Batches of `image_features` of all views."""
    return -(-len(objects) * int(pack.num_views[objects].min()) // _IMAGE_BATCH)
