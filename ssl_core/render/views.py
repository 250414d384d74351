"""Views of a Gaussian cloud of any size and place, for data sets that bring no pictures."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.render.gaussian_raster import render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.scenes.cameras import Camera, orbit_cameras

SOLID = 0.3
"""Gaussians with an alpha above this say where the object is."""
OUTLIERS = 0.01
"""Share of the Gaussians, on either side, that may lie outside the frame: floaters must not shrink the object."""

EDGE = 2.0
"""Standard deviations from its centre at which a Gaussian counts as ended."""


@dataclass(frozen=True, eq=False)
class RenderedViews:
    """Views of a cloud on white: images [V, H, W, 3] and masks [V, H, W], uint8, and cameras in the cloud's units."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    cameras: list[Camera]


def render_views(cloud: GaussianCloud, count: int, image_size: int) -> NDArray[np.uint8]:
    """The images of `rendered_views`, uint8 [V, H, W, 3]."""
    return rendered_views(cloud, count, image_size).images


def rendered_views(
    cloud: GaussianCloud, count: int, image_size: int, *, device: str | torch.device = "cpu"
) -> RenderedViews:
    """`count` views of `cloud`; the first ones do not depend on `count`.

    The cameras stand around the object and above it, where up is the cloud's z axis: a cloud with another
    axis up is seen lying on its side, as whole and as large.

    Raises DataError: the cloud is empty, or no view is asked for.
    """
    if len(cloud) == 0:
        raise DataError("the cloud has no Gaussians to draw; lower the threshold that emptied it")
    centre, radius = frame_of(cloud)
    gaussians = GaussianTensors.from_cloud(framed(cloud), device=device)
    cameras = orbit_cameras(count, image_size)
    images, masks = [], []
    with torch.no_grad():
        for camera in cameras:
            found = render_gaussians(gaussians, camera)
            images.append(_bytes(found.image))
            masks.append(_bytes(found.alpha))
    return RenderedViews(np.stack(images), np.stack(masks), [_unframed(camera, centre, radius) for camera in cameras])


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return found


def _unframed(camera: Camera, centre: NDArray[np.float64], radius: float) -> Camera:
    """The camera that sees the cloud as this one sees it framed."""
    viewmat = camera.viewmat.copy()
    viewmat[:3, 3] = radius * viewmat[:3, 3] - viewmat[:3, :3] @ centre
    return replace(camera, viewmat=viewmat)


def framed(cloud: GaussianCloud) -> GaussianCloud:
    """The cloud moved and scaled so that its solid part fills the unit sphere. Colours do not change."""
    centre, radius = frame_of(cloud)
    xyz: NDArray[Any] = (cloud.xyz.astype(np.float64) - centre) / radius
    return GaussianCloud(
        xyz=xyz,
        opacity_logits=cloud.opacity_logits,
        log_scales=cloud.log_scales - np.log(radius),
        quaternions=cloud.quaternions,
        sh_dc=cloud.sh_dc,
        sh_rest=cloud.sh_rest,
    )


def frame_of(cloud: GaussianCloud) -> tuple[NDArray[np.float64], float]:
    """Centre [3] and radius of the sphere that holds the solid part of the cloud."""
    xyz = cloud.xyz.astype(np.float64)
    alphas = cloud.alphas()
    solid = alphas > SOLID if (alphas > SOLID).any() else np.ones(len(cloud), dtype=bool)
    centre = np.quantile(xyz[solid], [OUTLIERS, 1 - OUTLIERS], axis=0).mean(axis=0)
    sizes = np.exp(cloud.log_scales[solid].astype(np.float64).max(axis=1))
    reach = np.linalg.norm(xyz[solid] - centre, axis=1) + EDGE * sizes
    return centre, float(np.quantile(reach, 1 - OUTLIERS))
