"""Any file of Gaussians, read by what it is: one call for every format, with what the format could not carry.

A decoder is a module with `decode(source, limit) -> GaussianFile`; the closed list of them is here.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, assert_never

from ssl_core.data.gaussians import GaussianCloud
from ssl_core.data.source import Source, as_source
from ssl_core.errors import GaussianFileError

GaussianFormat = Literal["ply", "compressed_ply", "splat", "spz", "sog"]
SUFFIXES = (".ply", ".splat", ".spz", ".sog")
"""Endings of files that may hold Gaussians; `.compressed.ply` is a .ply by name and told apart by its header."""

MAX_GAUSSIANS = 3_000_000
"""More in one object are refused before their arrays are made: 236 bytes each, and a worker has 1.5 GB."""


@dataclass(frozen=True, eq=False)
class GaussianFile:
    """What a file held.

    Args:
        cloud: its Gaussians, SH degree at most 3.
        format: the kind of file.
        sh_degree: degree stored in the file, which may be above the cloud's.
        notes: what the format or its degree cost, one sentence each: "quaternions have 8 bits per component".
    """

    cloud: GaussianCloud
    format: GaussianFormat
    sh_degree: int
    notes: tuple[str, ...] = ()


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
            from ssl_core.data.ply import decode

            return decode(source, limit)
        case "splat":
            from ssl_core.data.formats.splat import decode

            return decode(source, limit)
        case "spz":
            from ssl_core.data.formats.spz import decode

            _refuse_disguise(source, "a .spz", ("gzip", "a .spz"))
            return decode(source, limit)
        case "sog":
            from ssl_core.data.formats.sog import decode

            _refuse_disguise(source, "a .sog", ("a zip",))
            return decode(source, limit)
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
    from ssl_core.data.formats.streams import looks_like, opened

    with opened(source, GaussianFileError) as stream:
        found = looks_like(stream.read(32))
    if found and not found.startswith(own):
        raise GaussianFileError(f"{source}: is not {expected}: it looks like {found}; give it its own ending")
