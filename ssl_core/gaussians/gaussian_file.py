"""Any file of Gaussians, read by what it is: one call for every format, with what the format could not carry.

A decoder is a module with `decode(source, limit, ...) -> GaussianFile`; the closed list of them is here. What they give
goes through `usable_rows.usable`, so that all formats have the same bounds.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import assert_never

from ssl_core.errors import DataError, GaussianFileError, PlyError
from ssl_core.files.source import FileSource, Source, as_source
from ssl_core.gaussians import ply
from ssl_core.gaussians.formats import ksplat, sog, splat, spz
from ssl_core.gaussians.formats.bounded_reading import looks_like, naming, opened
from ssl_core.gaussians.formats.not_gaussians import by_endings
from ssl_core.gaussians.formats.sog_bundle import META
from ssl_core.gaussians.formats.spz_axes import SpzAxes
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS, SUFFIXES, Floats, GaussianFile, GaussianFormat
from ssl_core.gaussians.usable_rows import usable

_FORMATS: dict[str, GaussianFormat] = {
    ".ply": "ply",
    ".splat": "splat",
    ".ksplat": "ksplat",
    ".spz": "spz",
    ".sog": "sog",
}
_OWN_STARTS = {"spz": ("gzip", "a .spz"), "sog": ("a zip",), "ksplat": ("a .ksplat",)}
"""What files of a format look like. The readers of .ply and .splat look for themselves."""


def read_gaussians(
    place: Source | Path | str,
    limit: int = MAX_GAUSSIANS,
    *,
    spz_axes: SpzAxes | None = None,
    beside: Iterable[Source] | None = None,
    drop_bad_rows: bool = False,
) -> GaussianFile:
    """Read a file of Gaussians of any known format, told by its ending and its first bytes.

    Args:
        place: the file; of an unbundled .sog its meta.json or its folder.
        limit: Gaussians at most.
        spz_axes: axes of a .spz that does not name its own; without it a .ply beside the file decides, else the
            format's description.
        beside: the files that count as lying beside it (`companions`); None looks on the disk.
        drop_bad_rows: leave single Gaussians out that cannot be used, see `usable`.

    Raises:
        GaussianFileError: no such format, damaged, values that cannot be used, empty, or more than `limit` Gaussians.
            Names the file, the property or offset, and the remedy.
    """
    source = gaussian_source(place)
    kind = gaussian_format(source)
    find = _on_disk(source) if beside is None else {other.name: other for other in beside}.get
    if kind in _OWN_STARTS and not is_sog_meta(source.name):
        with opened(source) as stream:
            found = looks_like(stream.read(32))
            if found and not found.startswith(_OWN_STARTS[kind]):
                raise GaussianFileError(f"is not a .{kind}: it looks like {found}; give it its own ending")
    decoded = _decoded(source, kind, limit, spz_axes, find)
    with naming(source, PlyError if kind == "ply" else GaussianFileError):
        return usable(decoded, drop_bad_rows=drop_bad_rows)


def _decoded(
    source: Source, kind: GaussianFormat, limit: int, spz_axes: SpzAxes | None, find: Callable[[str], Source | None]
) -> GaussianFile:
    match kind:
        case "ply" | "compressed_ply":
            return ply.decode(source, limit)
        case "splat":
            return splat.decode(source, limit)
        case "ksplat":
            return ksplat.decode(source, limit)
        case "spz":
            return spz.decode(source, limit, spz_axes, lambda: _ply_centres(source, find, limit))
        case "sog":
            return sog.decode(source, limit, find)
        case _:
            assert_never(kind)


def gaussian_source(place: Source | Path | str) -> Source:
    """A place as a source; a folder that holds an unbundled .sog is its meta.json."""
    if isinstance(place, Path | str) and os.path.isfile(os.path.join(place, META)):  # noqa: PTH113, PTH118 - as below
        return FileSource(Path(place, META))
    return as_source(place)


def gaussian_format(source: Source) -> GaussianFormat:
    """The format by ending. Raises GaussianFileError for an unknown one."""
    suffix = PurePosixPath(source.name).suffix.lower()
    if is_sog_meta(source.name):
        return "sog"
    if suffix not in _FORMATS:
        expected = f"{', '.join(SUFFIXES)}, or the {META} of a .sog"
        found = by_endings([source.name])
        instead = f"a {found}" if found else f"no known file of Gaussians; expected one of {expected}"
        raise GaussianFileError(f"{source}: is {instead}")
    return _FORMATS[suffix]


def is_sog_meta(name: str) -> bool:
    """Whether a file of this name may be the description of an unbundled .sog."""
    return name.lower() == META


def companions(name: str, others: Iterable[Source]) -> tuple[Source, ...]:
    """Those of the other files of its folder that a file of Gaussians is read with: they count for its identity."""
    if is_sog_meta(name):
        return tuple(other for other in others if other.name.lower().endswith((".webp", ".png")))
    wanted = _ply_names(name)
    return tuple(other for other in others if other.name in wanted)


def _ply_names(name: str) -> tuple[str, ...]:
    """Names of the .ply that a .spz may have been made from; none for other files."""
    stem = PurePosixPath(name).stem
    return (f"{stem}.ply", f"{stem}.compressed.ply") if name.lower().endswith(".spz") else ()


def _on_disk(source: Source) -> Callable[[str], Source | None]:
    """Files beside a file; beside a member of an archive there are only those that somebody listed."""

    def find(name: str) -> Source | None:
        if not isinstance(source, FileSource):
            return None
        found = source.path.parent / name
        return FileSource(found) if os.path.isfile(found) else None  # noqa: PTH113 - Path's raises on long names

    return find


def _ply_centres(source: Source, find: Callable[[str], Source | None], limit: int) -> Floats | None:
    """Centres of the .ply of the same name, [M, 3]; None where there is none that can be read."""
    for name in _ply_names(source.name):
        other = find(name)
        if other is not None:
            try:
                return usable(ply.decode(other, limit)).cloud.xyz
            except DataError:
                continue
    return None
