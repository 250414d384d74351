"""The Gaussians of a .ply, whatever its ending."""

from pathlib import Path

from ssl_core.files.source import Source, as_source
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, GaussianCloud
from ssl_core.gaussians.ply import decode


def read_gaussian_ply(place: Source | Path | str, limit: int = MAX_GAUSSIANS) -> GaussianCloud:
    """Raises PlyError as `decode` does."""
    return decode(as_source(place), limit).cloud
