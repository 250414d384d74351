"""Any file of Gaussians, read by what it is: one call for every format, with what the format could not carry.

A decoder is a module with `decode(source, limit) -> GaussianFile`; the closed list of them is here. What they give goes
through `usable_rows.usable`, so that all formats have the same bounds.
"""

from pathlib import Path, PurePosixPath

from ssl_core.errors import GaussianFileError, PlyError
from ssl_core.files.source import Source, as_source
from ssl_core.gaussians import ply
from ssl_core.gaussians.formats import sog, splat, spz
from ssl_core.gaussians.formats.bounded_reading import looks_like, naming, opened
from ssl_core.gaussians.formats.not_gaussians import by_endings
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, SUFFIXES, GaussianFile, GaussianFormat
from ssl_core.gaussians.usable_rows import usable

_FORMATS: dict[str, GaussianFormat] = {".ply": "ply", ".splat": "splat", ".spz": "spz", ".sog": "sog"}
_DECODERS = {"ply": ply.decode, "splat": splat.decode, "spz": spz.decode, "sog": sog.decode}
_OWN_STARTS = {"spz": ("gzip", "a .spz"), "sog": ("a zip",)}
"""What files of a format look like. The readers of .ply and .splat look for themselves."""


def read_gaussians(
    place: Source | Path | str, limit: int = MAX_GAUSSIANS, *, drop_bad_rows: bool = False
) -> GaussianFile:
    """Read a file of Gaussians of any known format, told by its ending and its first bytes.

    Args:
        place: the file.
        limit: most Gaussians.
        drop_bad_rows: leave single Gaussians out that cannot be used, see `usable`.

    Raises:
        GaussianFileError: no such format, damaged, values that cannot be used, empty, or more than `limit` Gaussians.
            Names the file, the property or offset, and the remedy.
    """
    source = as_source(place)
    kind = gaussian_format(source)
    if kind in _OWN_STARTS:
        with opened(source) as stream:
            found = looks_like(stream.read(32))
            if found and not found.startswith(_OWN_STARTS[kind]):
                raise GaussianFileError(f"is not a .{kind}: it looks like {found}; give it its own ending")
    decoded = _DECODERS[kind](source, limit)
    with naming(source, PlyError if kind == "ply" else GaussianFileError):
        return usable(decoded, drop_bad_rows=drop_bad_rows)


def gaussian_format(source: Source) -> GaussianFormat:
    """The format by ending. Raises GaussianFileError for an unknown one."""
    suffix = PurePosixPath(source.name).suffix.lower()
    if suffix not in _FORMATS:
        found = by_endings([source.name])
        instead = f"a {found}" if found else f"no known file of Gaussians; expected one of {', '.join(SUFFIXES)}"
        raise GaussianFileError(f"{source}: is {instead}")
    return _FORMATS[suffix]
