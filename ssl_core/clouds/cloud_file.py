"""Any file of a plain point cloud, read by what it is.

.pcd                Point Cloud Library's (`pcd`): x y z, normal_x normal_y normal_z, rgb or rgba
.ply                x y z, nx ny nz, red green blue, and no column of a Gaussian but these
.npy                [N, 3], or [N, 6] with unit normals behind the positions, of `..._colors.npy` with colours
.txt .xyz .pts      the same as text, separated by commas or blanks; a first line of one number is the count
"""

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Any, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ssl_core.clouds.pcd import decode_pcd
from ssl_core.clouds.point_cloud import CLOUD_SUFFIXES, PointCloud, usable_points
from ssl_core.errors import PointCloudError
from ssl_core.files.source import Source, as_source, read_bytes
from ssl_core.gaussians.formats.bounded_reading import columns_at, finish, naming, opened
from ssl_core.gaussians.formats.gaussian_properties import XYZ
from ssl_core.gaussians.formats.not_gaussians import is_points
from ssl_core.gaussians.formats.ply_header import check_nothing_left, read_header
from ssl_core.gaussians.formats.ply_rows import open_rows
from ssl_core.gaussians.gaussian_cloud import MAX_GAUSSIANS

COLOURED = "_colors.npy"
"""Ending of an .npy whose last three of six columns are colours, of which 255 or 1 is full."""

MAX_BYTES = 2**30
"""A larger file is refused unread."""

Columns = tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]
"""Positions, normals, colours in [0, 1]: [N, 3] each."""

_NORMALS = (("normal_x", "normal_y", "normal_z"), ("nx", "ny", "nz"))
_COLOURS = ("red", "green", "blue")


def is_point_cloud(source: Source) -> bool:
    """Whether a file holds plain points; of a .ply the header is read. Raises PlyError: a .ply without a header."""
    ending = PurePosixPath(source.name).suffix.lower()
    if ending != ".ply":
        return ending in CLOUD_SUFFIXES
    with opened(source) as stream:
        return is_points(read_header(source, stream))


def read_point_cloud(
    place: Source | Path | str, limit: int = MAX_GAUSSIANS, *, drop_bad_rows: bool = False
) -> PointCloud:
    """Read a plain point cloud of at most `limit` points.

    Args:
        drop_bad_rows: leave single points out that cannot be used, see `usable_points`.

    Raises:
        PointCloudError: no such format, damaged, no positions, too many points, values that cannot be used, or points
            that are all the same. Names the file, what was found and the remedy.
    """
    source = as_source(place)
    ending = PurePosixPath(source.name).suffix.lower()
    if ending not in CLOUD_SUFFIXES:
        raise PointCloudError(f"{source}: is no known file of points; expected one of {', '.join(CLOUD_SUFFIXES)}")
    if ending == ".ply":
        columns = _ply_columns(source, limit)  # names the file itself
    else:
        with naming(source, PointCloudError):
            columns = _columns(read_bytes(source, MAX_BYTES), ending, limit, source.name.lower().endswith(COLOURED))
    with naming(source, PointCloudError):
        return usable_points(*columns, drop_bad_rows=drop_bad_rows)


def _columns(content: bytes, ending: str, limit: int, coloured: bool) -> Columns:
    match ending:
        case ".pcd":
            return _named(decode_pcd(content, limit))
        case ".npy":
            return _split(decode_npy(content), limit, coloured)
        case _:
            return _split(decode_text(content), limit)


def _ply_columns(source: Source, limit: int) -> Columns:
    with opened(source, PointCloudError) as stream:
        header = read_header(source, stream)
        vertex = header.element("vertex")
        if not is_points(header) or vertex is None:
            raise PointCloudError("is no .ply of plain points (x, y, z and no column of a Gaussian); read it otherwise")
        check_nothing_left(header)
        if not 0 < vertex.count <= limit:
            raise PointCloudError(f"has {vertex.count:,} points; expected 1 to {limit:,}")
        rows = open_rows(source, stream, header, "vertex")
        wanted = [name for name in (*XYZ, *_NORMALS[0], *_NORMALS[1], *_COLOURS) if name in rows.fields]
        table = {name: np.empty(vertex.count, rows.fields[name][1]) for name in wanted}
        for at, block in rows.blocks:
            for name, values in table.items():
                offset, dtype = rows.fields[name]
                values[at] = columns_at(block, at.stop - at.start, rows.row_size, offset, dtype, 1)[:, 0]
        finish(source, stream)
        typed = {name: values.astype(header.dtype(vertex.types[name])) for name, values in table.items()}
    return _named(typed)


def _named(table: Mapping[str, NDArray[Any]]) -> Columns:
    """Positions, normals and colours among named columns."""
    missing = [name for name in XYZ if name not in table]
    if missing:
        raise PointCloudError(f"has no column '{missing[0]}'; its columns are {', '.join(table)[:80]!a}")
    normals = next((names for names in _NORMALS if all(name in table for name in names)), None)
    return _stacked(table, XYZ), None if normals is None else _stacked(table, normals), _colours(table)


def _stacked(table: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN; `usable_points` finds it
        return np.stack([table[name].astype(np.float64) for name in names], axis=1)


def _colours(table: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """Of integers 255 is full; floats are taken as they are, if they lie in [0, 1]."""
    if all(name in table for name in _COLOURS):
        values = _stacked(table, _COLOURS)
        return values / 255 if table["red"].dtype.kind in "iu" or values.max(initial=0) > 1 else values
    packed = table.get("rgb", table.get("rgba"))
    if packed is None or packed.dtype.itemsize != 4:
        return None
    bits = np.ascontiguousarray(packed).view("<u4")
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1) / 255


def decode_npy(content: bytes) -> NDArray[Any]:
    """A numeric array [N, C]. Nothing is allocated on the header's word. Raises PointCloudError."""
    stream = io.BytesIO(content)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:
        reason = ascii(" ".join(str(error).split())[:120])
        raise PointCloudError(f"is no .npy file ({reason}); write it again") from None
    if len(shape) != 2 or dtype.kind not in "fiu":
        raise PointCloudError(f"holds {dtype} {list(shape)}; expected numbers [N, 3] or [N, 6]")
    start, needed = stream.tell(), shape[0] * shape[1] * dtype.itemsize
    if len(content) - start != needed:
        raise PointCloudError(
            f"holds {len(content) - start:,} bytes where {list(shape)} take {needed:,}; copy it again"
        )
    values = np.frombuffer(content, dtype, offset=start)
    return cast(NDArray[Any], values.reshape(shape, order="F" if fortran else "C"))


def decode_text(content: bytes) -> NDArray[np.float64]:
    """The numbers of a text, a point a line; `#` begins a comment. Raises PointCloudError."""
    lines = [
        line
        for raw in content.decode("ascii", errors="replace").splitlines()
        if (line := raw.partition("#")[0].strip())
    ]
    if lines and lines[0].isdecimal():
        promised = int(lines.pop(0)) if len(lines[0]) < 12 else 0
        if promised != len(lines):
            raise PointCloudError(f"promises {promised:,} points and holds {len(lines):,}; copy it again")
    if not lines:
        raise PointCloudError("holds no points; write or copy it again")
    try:
        return np.loadtxt(lines, delimiter="," if "," in lines[0] else None, comments=None, ndmin=2)
    except (ValueError, IndexError) as error:
        raise PointCloudError(f"a line is damaged ({' '.join(str(error).split())[:100]!a}); export it again") from None


def _split(table: NDArray[Any], limit: int, coloured: bool = False) -> Columns:
    """Positions, and normals or colours, of an array without names."""
    count, width = table.shape
    if width not in (3, 6):
        raise PointCloudError(
            f"has {width} columns; expected 3 (x y z) or 6 (x y z and a unit normal): leave the others "
            "out, or write a .ply"
        )
    if not 0 < count <= limit:
        raise PointCloudError(f"has {count:,} points; expected 1 to {limit:,}")
    more = table[:, 3:] if width == 6 else None
    if coloured and more is not None:
        return table[:, :3], None, more / 255 if more.dtype.kind in "iu" or more.max() > 1 else more
    return table[:, :3], more, None
