"""Axes and normals of Gaussians, spelled out in numpy."""

import numpy as np

from ssl_core.gaussians.gaussian_cloud import Floats, GaussianCloud


def rotations(cloud: GaussianCloud) -> Floats:
    """[N, 3, 3] local to world; column i is the direction of scale i."""
    # float64: float32 norms of very small or large quaternions would underflow or overflow
    quaternions = cloud.quaternions.astype(np.float64)
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0).astype(np.float32, order="C")


def normals(cloud: GaussianCloud) -> Floats:
    """[N, 3] unit: the shortest axis of each Gaussian, pointing away from the mean of the centres."""
    shortest = np.argmin(cloud.log_scales, axis=1)
    axes = rotations(cloud)[np.arange(len(cloud)), :, shortest]
    outward = cloud.xyz - cloud.xyz.mean(axis=0, dtype=np.float64).astype(np.float32)
    axes[np.einsum("ni,ni->n", axes, outward) < 0] *= -1
    return axes
