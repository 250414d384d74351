"""Points of a surface as Gaussians that look like it: flat discs across the normals, balls where there are none."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.gaussians.gaussian_cloud import SH_C0, Floats, GaussianCloud

DISC_RADIUS = 0.35
"""Standard deviation in the surface, in units of the spacing, sqrt(area per point)."""
THICKNESS = 0.1
"""Standard deviation across the surface, in units of the one in it."""
OPACITY = 0.9


def surface_discs(xyz: Floats, normals: NDArray[Any] | None, colours: NDArray[Any], spacing: float) -> GaussianCloud:
    """Gaussians of SH degree 0 at points.

    Args:
        xyz: [N, 3] object units.
        normals: [N, 3] unit; the shortest axis of a disc is its normal or the opposite. None gives balls.
        colours: [N, 3] in [0, 1].
        spacing: sqrt(area per point), object units.
    """
    count = len(xyz)
    log_scales = np.full((count, 3), math.log(DISC_RADIUS * spacing), np.float32)
    quaternions = np.zeros((count, 4), np.float32)
    quaternions[:, 0] = 1
    if normals is not None:
        log_scales[:, 2] += math.log(THICKNESS)
        quaternions = _tilt_z_to(np.asarray(normals, np.float64))
    return GaussianCloud(
        xyz=xyz,
        opacity_logits=np.full(count, math.log(OPACITY / (1 - OPACITY)), np.float32),
        log_scales=log_scales,
        quaternions=quaternions,
        sh_dc=((colours - 0.5) / SH_C0).astype(np.float32),
        sh_rest=np.zeros((count, 0, 3), np.float32),
    )


def _tilt_z_to(normals: NDArray[np.float64]) -> Floats:
    """[N, 4] wxyz of the shortest rotation from the z axis to a normal or its opposite, whichever is nearer."""
    x, y, z = (normals * np.where(normals[:, 2:] < 0, -1, 1)).T
    quaternions = np.stack([1 + z, -y, x, np.zeros_like(x)], axis=1)
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)
