"""A reconstructed cloud as files: points for any viewer, Gaussians for what draws splats."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ssl_core.clouds.cloud_ply import write_cloud_ply
from ssl_core.files.image_files import as_bytes
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.gaussians.surface_discs import surface_discs


def reconstructed_gaussians(cloud: NDArray[np.float32]) -> GaussianCloud:
    """A cloud [N, 6] of xyz and RGB in [0, 1] as balls that close the surface between its points.

    Of points thrown on a surface the nearest lies half a spacing sqrt(area per point) away, on average (Clark, Evans
    1954).
    """
    xyz = cloud[:, :3]
    nearest = KDTree(xyz).query(xyz, k=2)[0][:, 1]
    return surface_discs(xyz, None, cloud[:, 3:], max(2 * float(nearest.mean()), 1e-6))


def write_reconstruction(folder: Path, stem: str, cloud: NDArray[np.float32]) -> tuple[Path, Path]:
    """Write `<stem>.ply`, coloured points, and `<stem>_gaussians.ply`. Raises StorageError."""
    points, gaussians = folder / f"{stem}.ply", folder / f"{stem}_gaussians.ply"
    write_cloud_ply(points, cloud[:, :3], as_bytes(cloud[:, 3:]))
    write_gaussian_ply(gaussians, reconstructed_gaussians(cloud))
    return points, gaussians
