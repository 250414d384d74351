"""The Gaussians of a .ply."""

from pathlib import Path

from ssl_core.files.source import Source
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians


def read_gaussian_ply(place: Source | Path | str, limit: int = MAX_GAUSSIANS) -> GaussianCloud:
    """Raises PlyError as `read_gaussians` does."""
    return read_gaussians(place, limit).cloud
