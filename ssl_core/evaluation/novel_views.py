"""Views of packed objects that no pack holds: their Gaussians, drawn from elevations where no camera stood.

The orbits that packs and `splat` look from stand 10° to 50° above the horizon. These cameras stand below and above that
band, half of them each, so that an image encoder is asked about poses and a rendering that it was not trained on.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.data.cameras import Camera, orbit_cameras
from ssl_core.data.gaussians import GaussianCloud
from ssl_core.data.pack import Pack
from ssl_core.errors import ConfigError
from ssl_core.render.gaussian_raster import GaussianTensors, render_gaussians
from ssl_core.render.thumbnails import cloud_of
from ssl_core.render.views import framed

BELOW, ABOVE = (-30.0, 0.0), (60.0, 80.0)
"""Elevations in degrees above the horizon."""


def novel_cameras(count: int, image_size: int, seed: int) -> list[Camera]:
    """`count` cameras on the orbit of the packs' own, below and above its band in turn; the first do not depend on
    `count`.

    Raises:
        DataError: no camera, or no pixel is asked for.
    """
    halves = [
        orbit_cameras((count + 1) // 2, image_size, seed=2 * seed + 1_000_003, elevations=BELOW),
        orbit_cameras((count + 1) // 2, image_size, seed=2 * seed + 1_000_004, elevations=ABOVE),
    ]
    return [camera for pair in zip(*halves, strict=True) for camera in pair][:count]


def novel_views(
    pack: Pack,
    objects: NDArray[np.int64],
    *,
    views: int,
    image_size: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> Iterator[NDArray[np.uint8]]:
    """Views of each object in turn: uint8 [views, 3, image_size, image_size] on white.

    All objects are seen from the same cameras. One object is drawn when it is asked for: 2,000 Gaussians on 64 to 128
    pixels take some 40 ms a view on one core.

    Args:
        pack: its Gaussians are drawn, of the colours that it keeps.
        objects: indices into the pack.
        views: per object.
        image_size: side in pixels.
        seed: another seed, other cameras.
        device: where to draw.

    Raises:
        ConfigError: no view is asked for.
        DataError: no pixel is asked for.
    """
    if views < 1:
        raise ConfigError(f"novel views: {views} views were asked for; ask for one at least")
    cameras = novel_cameras(views, image_size, seed)
    for index in objects.tolist():
        yield _drawn(cloud_of(pack.rows_of(index)), cameras, device)


def _drawn(cloud: GaussianCloud, cameras: list[Camera], device: str | torch.device) -> NDArray[np.uint8]:
    gaussians = GaussianTensors.from_cloud(framed(cloud), device=device)
    with torch.no_grad():
        images = [render_gaussians(gaussians, camera).image.clamp(0, 1) for camera in cameras]
    pixels = (torch.stack(images) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 3, 1, 2).cpu().numpy())
