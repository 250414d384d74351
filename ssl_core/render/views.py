"""Views of a Gaussian cloud of any size and place, for data sets that bring no pictures."""

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.data.cameras import orbit_cameras
from ssl_core.data.gaussians import GaussianCloud
from ssl_core.errors import DataError
from ssl_core.render.gaussian_raster import GaussianTensors, render_gaussians

SOLID = 0.3
"""Gaussians with an alpha above this say where the object is."""
OUTLIERS = 0.01
"""Share of the Gaussians, on either side, that may lie outside the frame: floaters must not shrink the
object."""

EDGE = 2.0
"""Standard deviations from its centre at which a Gaussian counts as ended."""


def render_views(
    cloud: GaussianCloud, count: int, image_size: int, *, device: str | torch.device = "cpu"
) -> NDArray[np.uint8]:
    """`count` views of `cloud` on white, uint8 [V, H, W, 3]; the first ones do not depend on
    `count`.

    The cameras stand around the object and above it, where up is the cloud's z axis: a cloud with another
    axis up is seen lying on its side, as whole and as large.

    Raises:
        DataError: the cloud is empty, or no view is asked for.
    """
    if len(cloud) == 0:
        raise DataError("the cloud has no Gaussians to draw; lower the threshold that emptied it")
    gaussians = GaussianTensors.from_cloud(framed(cloud), device=device)
    views = []
    with torch.no_grad():
        for camera in orbit_cameras(count, image_size):
            image = render_gaussians(gaussians, camera).image.clamp(0, 1)
            views.append((image * 255).round().to(torch.uint8).cpu().numpy())
    return np.stack(views)


def framed(cloud: GaussianCloud) -> GaussianCloud:
    """The cloud moved and scaled so that its solid part fills the unit sphere. Colours do not change."""
    xyz = cloud.xyz.astype(np.float64)
    alphas = cloud.alphas()
    solid = alphas > SOLID if (alphas > SOLID).any() else np.ones(len(cloud), dtype=bool)
    centre = np.quantile(xyz[solid], [OUTLIERS, 1 - OUTLIERS], axis=0).mean(axis=0)
    sizes = np.exp(cloud.log_scales[solid].astype(np.float64).max(axis=1))
    reach = np.linalg.norm(xyz[solid] - centre, axis=1) + EDGE * sizes
    radius = float(np.quantile(reach, 1 - OUTLIERS))
    return GaussianCloud(
        xyz=(xyz - centre) / radius,
        opacity_logits=cloud.opacity_logits,
        log_scales=cloud.log_scales - np.log(radius),
        quaternions=cloud.quaternions,
        sh_dc=cloud.sh_dc,
        sh_rest=cloud.sh_rest,
    )
