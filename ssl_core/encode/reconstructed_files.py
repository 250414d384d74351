"""A reconstructed cloud as files: points for any viewer, Gaussians for what draws splats."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.cloud_ply import write_cloud_ply
from ssl_core.clouds.point_cloud import PointCloud
from ssl_core.files.image_files import as_bytes
from ssl_core.gaussians.ply import write_gaussian_ply


def coloured_cloud(cloud: NDArray[np.float32]) -> PointCloud:
    """Of [N, 6]: xyz and RGB in [0, 1]."""
    return PointCloud(np.ascontiguousarray(cloud[:, :3]), colours=np.ascontiguousarray(cloud[:, 3:]))


def write_reconstruction(folder: Path, stem: str, cloud: NDArray[np.float32]) -> tuple[Path, Path]:
    """Write `<stem>.ply`, coloured points, and `<stem>_gaussians.ply`, the same as balls. Raises StorageError."""
    points, gaussians = folder / f"{stem}.ply", folder / f"{stem}_gaussians.ply"
    write_cloud_ply(points, cloud[:, :3], as_bytes(cloud[:, 3:]))
    write_gaussian_ply(gaussians, coloured_cloud(cloud).as_gaussians())
    return points, gaussians
