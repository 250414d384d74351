"""Novel views: the SVM that learnt from the pack's own views, asked about renderings from other cameras.

The orbits that packs and `splat` look from stand 10° to 50° above the horizon. These cameras stand below and above
that band, half of them each, so that an image encoder is asked about poses and a rendering that it was not trained on.
Beside them stand as many of the objects' own views, so that the difference is not one of their number. Where the pack's
views were not rendered from its Gaussians, the difference holds the change of the renderer too.
"""

from collections.abc import Iterator
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from ssl_core.config import Config
from ssl_core.contracts import Background, ImageContract
from ssl_core.data.augment import whole_images
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import Features, encoded
from ssl_core.evaluation.features import pool, view_subsets
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.statistics import Interval, paired_intervals
from ssl_core.evaluation.task_contract import Found, LeftOutError, Section, Subject, plain
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.inspect.thumbnails import cloud_of
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import device_of
from ssl_core.render.gaussian_raster import render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.views import framed
from ssl_core.scenes.cameras import Camera, orbit_cameras

BELOW, ABOVE = (-30.0, 0.0), (60.0, 80.0)
"""Elevations in degrees above the horizon."""


class NovelViewSettings(Config):
    """Test objects seen from cameras that the pack has no picture of, rendered from their Gaussians."""

    views: int = Field(default=8, ge=1)


class NovelViewRow(Config):
    """The linear SVM fitted on the pack's own views, on views from other cameras and, of as many, its own."""

    labels: str
    views: int
    accuracy: Interval
    own: Interval
    loss: Interval
    """own minus novel, object by object"""


def novel_cameras(count: int, image_size: int, seed: int) -> list[Camera]:
    """`count` cameras on the orbit of the packs' own, below and above its band in turn; the first do not depend on
    `count`.

    Raises DataError: no camera, or no pixel is asked for.
    """
    halves = [
        orbit_cameras((count + 1) // 2, image_size, seed=2 * seed + 1_000_003, elevations=BELOW),
        orbit_cameras((count + 1) // 2, image_size, seed=2 * seed + 1_000_004, elevations=ABOVE),
    ]
    return [camera for pair in zip(*halves, strict=True) for camera in pair][:count]


def novel_views(
    pack: ObjectPack,
    objects: NDArray[np.int64],
    *,
    views: int,
    image_size: int,
    seed: int,
    background: Background = "white",
    device: str | torch.device = "cpu",
) -> Iterator[NDArray[np.uint8]]:
    """Views of each object in turn: uint8 [views, 3, image_size, image_size] on the background.

    All objects (indices into the pack) are seen from the same cameras, which the seed decides. One object is drawn when
    it is asked for: 2,000 Gaussians on 64 to 128 pixels take some 40 ms a view on one core.
    """
    cameras = novel_cameras(views, image_size, seed)
    for index in objects.tolist():
        yield _drawn(cloud_of(pack.rows_of(index)), cameras, background, device)


def _drawn(
    cloud: GaussianCloud, cameras: list[Camera], background: Background, device: str | torch.device
) -> NDArray[np.uint8]:
    behind = (1.0 if background == "white" else 0.0,) * 3
    gaussians = GaussianTensors.from_cloud(framed(cloud), device=device)
    with torch.no_grad():
        images = [render_gaussians(gaussians, camera, background=behind).image.clamp(0, 1) for camera in cameras]
    pixels = (torch.stack(images) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 3, 1, 2).cpu().numpy())


def _measure(subject: Subject, settings: NovelViewSettings, found: Found) -> tuple[NovelViewRow, ...]:
    """One row per label setting, views by their maximum."""
    match subject.card:
        case PointEncoderCard():
            raise LeftOutError("a point encoder sees no views")
        case ImageEncoderCard():
            contract = subject.card.contract
        case _:
            assert_never(subject.card)
    views = subject.raw.views
    assert views is not None
    count = min(settings.views, views.shape[1])
    n = len(subject.labels.train)
    subset = view_subsets(views.shape[1], count, [subject.config.view_seed(0)])[0]
    own = pool(views[n:], subset, "max")
    novel = _novel(subject, count, contract).max(axis=1)
    return tuple(
        _row(subject, setting, count, (subject.features[:n], own, novel)) for setting in subject.config.label_settings
    )


def _novel(subject: Subject, count: int, contract: ImageContract) -> Features:
    """[test objects, count, F]"""
    source, size = subject.test_source(), subject.pack.manifest.image_size
    seed, device = subject.config.draw_seed, device_of(subject.encoder)
    behind = contract.background

    def compute(encoder: nn.Module) -> Features:
        pictures = novel_views(
            subject.pack, subject.test, views=count, image_size=size, seed=seed, background=behind, device=device
        )
        whole = (whole_images(torch.from_numpy(stored), contract.image_size).to(device) for stored in pictures)
        return encoded(encoder, whole).reshape(len(subject.test), count, -1)

    return source.of_images(f"novel views {count} of {size} px, {seed}", subject.encoder, subject.identity, compute)


def _row(
    subject: Subject, setting: LabelSetting, count: int, features: tuple[Features, Features, Features]
) -> NovelViewRow:
    """features: of training objects, and of test objects by their own views and by novel ones."""
    right = subject.svm_correct(setting, features[0], features[1:])
    of_own, accuracy, loss = paired_intervals(right[:, 0], right[:, 1], subject.config.confidence)
    subject.steps.step(setting.draws)
    return NovelViewRow(labels=setting.name, views=count, accuracy=accuracy, own=of_own, loss=loss)


def _table(rows: tuple[NovelViewRow, ...]) -> Table:
    cells = [
        [row.labels, str(row.views), row.own.percent(), row.accuracy.percent(), row.loss.percent(signed=True)]
        for row in rows
    ]
    return "Novel views: linear SVM, %", ["labels", "views", "own views", "novel views", "lost"], cells


def _metrics(rows: tuple[NovelViewRow, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        place = f"novel_views/{plain(row.labels)}"
        found |= {place: row.accuracy.mean, f"{place}/loss": row.loss.mean}
    return found


NOVEL_VIEWS = Section("novel_views", lambda settings: 10 * settings.views, _measure, _table, _metrics)
