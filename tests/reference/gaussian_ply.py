"""The Gaussians of a .ply, whatever its ending."""

from pathlib import Path

from ssl_core.data.formats.decoded_file import MAX_GAUSSIANS
from ssl_core.data.gaussians import GaussianCloud
from ssl_core.data.ply import decode
from ssl_core.data.source import Source, as_source


def read_gaussian_ply(place: Source | Path | str, limit: int = MAX_GAUSSIANS) -> GaussianCloud:
    """Raises PlyError as `decode` does."""
    return decode(as_source(place), limit).cloud
