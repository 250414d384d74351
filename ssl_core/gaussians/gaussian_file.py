"""Any file of Gaussians, read by what it is: one call for every format, with what the format could not carry.

A decoder is a module with `decode(source, limit) -> GaussianFile`; the closed list of them is here.
"""

from pathlib import Path, PurePosixPath
from typing import assert_never

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import Source, as_source
from ssl_core.gaussians import ply
from ssl_core.gaussians.formats import sog, splat, spz
from ssl_core.gaussians.formats.bounded_reading import looks_like, opened
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, SUFFIXES, GaussianFile, GaussianFormat


def read_gaussians(place: Source | Path | str, limit: int = MAX_GAUSSIANS) -> GaussianFile:
    """Read a file of Gaussians of any known format, told by its ending and its first bytes.

    Raises:
        GaussianFileError: no such format, damaged, not finite, empty, or more than `limit` Gaussians. Names the
            file, the property or offset, and the remedy.
    """
    source = as_source(place)
    kind = gaussian_format(source)
    match kind:
        case "ply" | "compressed_ply":
            return ply.decode(source, limit)
        case "splat":
            return splat.decode(source, limit)
        case "spz":
            _refuse_disguise(source, "a .spz", ("gzip", "a .spz"))
            return spz.decode(source, limit)
        case "sog":
            _refuse_disguise(source, "a .sog", ("a zip",))
            return sog.decode(source, limit)
        case _:
            assert_never(kind)


def gaussian_format(source: Source) -> GaussianFormat:
    """The format by ending. Raises GaussianFileError for an unknown one."""
    match PurePosixPath(source.name).suffix.lower():
        case ".ply":
            return "ply"
        case ".splat":
            return "splat"
        case ".spz":
            return "spz"
        case ".sog":
            return "sog"
    raise GaussianFileError(f"{source}: is no known file of Gaussians; expected one of {', '.join(SUFFIXES)}")


def _refuse_disguise(source: Source, expected: str, own: tuple[str, ...]) -> None:
    """Refuse a file that starts as another kind does. The readers of .ply and .splat look for themselves."""
    with opened(source) as stream:
        found = looks_like(stream.read(32))
    if found and not found.startswith(own):
        raise GaussianFileError(f"{source}: is not {expected}: it looks like {found}; give it its own ending")
