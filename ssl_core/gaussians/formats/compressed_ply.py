"""SuperSplat's compressed .ply: 16 bytes per Gaussian between the bounds of its 256 neighbours.

Element `chunk`, one row per 256 Gaussians, holds the least and largest centre, log-scale and (in newer files) colour.
Element `vertex` holds four words: `packed_position` and `packed_scale` with 11, 10 and 11 bits between these bounds, x
highest; `packed_rotation`, two bits that name the largest component of wxyz and 10 bits for each other from -1/sqrt 2
to 1/sqrt 2; `packed_color`, 8 bits each of red, green, blue and alpha. Element `sh`, where present, holds f_rest_* as
bytes from -4 to 4, channel-major.
Description: https://github.com/playcanvas/splat-transform and https://blog.playcanvas.com/compressing-gaussian-splats/.
"""

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.bounded_reading import Bytes, columns_at, finish, read_blocks, skip
from ssl_core.gaussians.formats.gaussian_properties import (
    STORED_REST,
    check_count,
    logits_of_bytes,
    rest_names,
    restore_largest,
)
from ssl_core.gaussians.formats.ply_header import PlyElementHeader, PlyHeader
from ssl_core.gaussians.gaussian_cloud import SH_C0, SH_REST, GaussianCloud, GaussianFile, empty_cloud

CHUNK = 256
PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
BOUNDS = tuple(f"{end}_{what}{axis}" for what in ("", "scale_") for end in ("min", "max") for axis in "xyz")
COLOUR_BOUNDS = tuple(f"{end}_{channel}" for end in ("min", "max") for channel in "rgb")

_SH = (np.concatenate([[0.0], (np.arange(1, 255) + 0.5) / 256, [1.0]]) * 8 - 4).astype(np.float32)

_NOTES = (
    "centres and scales have 10 or 11 bits between the bounds of 256 Gaussians",
    "rotations have 10 bits per component, colours and opacities 8",
)

Doubles = NDArray[np.float64]


def is_compressed(header: PlyHeader) -> bool:
    """Whether a .ply of this header is of the compressed kind."""
    vertex = header.element("vertex")
    return vertex is not None and any(name in vertex.types for name in PACKED)


def decode_compressed(source: Source, stream: BinaryIO, header: PlyHeader, limit: int) -> GaussianFile:
    """Read a compressed .ply whose header was read; `stream` stands at its data.

    Raises:
        PlyError: counts that do not fit each other, a property missing or of the wrong type, bounds that are not
            finite or reversed, too many Gaussians, or truncated.
    """
    stored_rest = _check_header(header, limit)
    count = sum(one.count for one in header.elements if one.name == "vertex")
    cloud = empty_cloud(count, min(stored_rest // 3, SH_REST[-1]))
    bounds = np.empty(0)
    alphas = np.empty(count, dtype=np.uint8)
    for element in header.elements:
        match element.name:
            case "chunk":
                bounds = _read_bounds(stream, header, element)
            case "vertex":
                _read_vertices(stream, header, element, bounds, cloud, alphas)
            case "sh":
                _read_harmonics(stream, header, element, cloud)
            case _:
                skip(source, stream, element.count * element.row_size)
    finish(source, stream)
    cloud.opacity_logits[:], clipped = logits_of_bytes(alphas)
    notes = [*_NOTES, *clipped]
    if stored_rest:
        notes.append("spherical harmonics have 8 bits and end at -4 and 4")
    if stored_rest > 3 * SH_REST[-1]:
        notes.append("spherical harmonics of degree 4 were cut to degree 3")
    return GaussianFile(cloud, "compressed_ply", STORED_REST.index(stored_rest), tuple(notes))


def _check_header(header: PlyHeader, limit: int) -> int:
    """Everything that the header alone can tell; the number of f_rest properties."""
    vertex, chunk, sh = (header.element(name) for name in ("vertex", "chunk", "sh"))
    if header.format == "ascii" or any(one.has_lists for one in header.elements):
        raise PlyError("is a compressed .ply but ascii or with lists; export it again")
    if vertex is None or vertex.count == 0:
        raise PlyError("has no vertices, so no Gaussians; export it again")
    if chunk is None:
        raise PlyError("has packed vertices but no element 'chunk' with their bounds; export it again")
    _check_types(vertex, PACKED, ("uint", "uint32"))
    _check_types(chunk, BOUNDS, ("float", "float32"))
    if any(name in chunk.types for name in COLOUR_BOUNDS):
        _check_types(chunk, COLOUR_BOUNDS, ("float", "float32"))
    expected = -(-vertex.count // CHUNK)
    if chunk.count != expected:
        raise PlyError(f"has {chunk.count} rows of 'chunk'; {vertex.count} vertices need {expected}: export it again")
    names = [one.name for one in header.elements]
    if names.index("chunk") > names.index("vertex"):
        raise PlyError("has element 'chunk' behind 'vertex'; it must come first: export it again")
    check_count(vertex.count, limit)
    return 0 if sh is None else _check_harmonics(sh, vertex.count)


def _check_harmonics(sh: PlyElementHeader, count: int) -> int:
    found = sum(re.fullmatch(r"f_rest_\d+", name) is not None for name in sh.types)
    if found not in STORED_REST[1:]:
        raise PlyError(
            f"element 'sh' has {found} f_rest properties; expected one of "
            f"{', '.join(map(str, STORED_REST[1:]))}: export it again"
        )
    _check_types(sh, tuple(f"f_rest_{i}" for i in range(found)), ("uchar", "uint8"))
    if sh.count != count:
        raise PlyError(f"has {sh.count} rows of 'sh' for {count} vertices; export it again")
    return found


def _check_types(element: PlyElementHeader, names: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    for name in names:
        kind = element.types.get(name)
        if kind not in kinds:
            what = "is missing" if kind is None else f"is of type {kind}"
            raise PlyError(
                f"property '{name}' of element '{element.name}' {what}; expected {kinds[0]}: export it again"
            )


def _read_bounds(stream: BinaryIO, header: PlyHeader, chunk: PlyElementHeader) -> Doubles:
    """Least and largest centres, scales and colours, [3, 2, chunks, 3]; colours are 0 to 1 where not stored."""
    names = tuple(name for name in (*BOUNDS, *COLOUR_BOUNDS) if name in chunk.types)
    table = np.empty((chunk.count, len(names)))
    for rows, block in read_blocks(stream, chunk.count, chunk.row_size):
        table[rows] = np.stack(_columns(header, chunk, block, names), axis=1)
    # Kind, end, chunk, axis.
    bounds = table.reshape(chunk.count, -1, 2, 3).transpose(1, 2, 0, 3)
    _check_bounds(names, table, bounds)
    if len(bounds) == 3:
        return bounds
    return np.concatenate([bounds, [[np.zeros((chunk.count, 3)), np.ones((chunk.count, 3))]]])


def _check_bounds(names: tuple[str, ...], table: Doubles, bounds: Doubles) -> None:
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        chunk, column = bad[0]
        raise PlyError(f"'{names[column]}' of chunk {chunk} is not finite ({len(bad)} such bounds); export it again")
    reversed_ = np.argwhere(bounds[:, 0] > bounds[:, 1])
    if len(reversed_):
        kind, chunk, axis = reversed_[0]
        raise PlyError(
            f"'{names[6 * kind + axis]}' of chunk {chunk} is above '{names[6 * kind + 3 + axis]}'; export it again"
        )


def _read_vertices(
    stream: BinaryIO, header: PlyHeader, vertex: PlyElementHeader, bounds: Doubles, cloud: GaussianCloud, alphas: Bytes
) -> None:
    """Fill all but the harmonics; opacities stay bytes, in `alphas`."""
    for rows, block in read_blocks(stream, vertex.count, vertex.row_size):
        position, rotation, scale, colour = _columns(header, vertex, block, PACKED)
        centres, scales, colours = bounds[:, :, np.arange(rows.start, rows.stop) // CHUNK]
        cloud.xyz[rows] = _between(centres, _units_11_10_11(position))
        cloud.log_scales[rows] = _between(scales, _units_11_10_11(scale))
        cloud.quaternions[rows] = _quaternions(rotation)
        rgb = np.stack([colour >> shift & 255 for shift in (24, 16, 8)], axis=1) / 255
        # A colour bound near float32's limit overflows here; `usable` deals with it.
        with np.errstate(over="ignore"):
            cloud.sh_dc[rows] = (_between(colours, rgb) - 0.5) / SH_C0
        alphas[rows] = colour & 255


def _read_harmonics(stream: BinaryIO, header: PlyHeader, sh: PlyElementHeader, cloud: GaussianCloud) -> None:
    kept = cloud.sh_rest.shape[1]
    stored = sum(re.fullmatch(r"f_rest_\d+", name) is not None for name in sh.types)
    fields = header.fields(sh)
    offsets = np.array([[fields[name][0] for name in names] for names in rest_names(stored, kept)])
    for rows, block in read_blocks(stream, sh.count, sh.row_size):
        table = block.reshape(rows.stop - rows.start, sh.row_size)
        cloud.sh_rest[rows] = _SH[table[:, offsets.T]]


def _columns(header: PlyHeader, element: PlyElementHeader, block: Bytes, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Properties of a block of rows, each [rows]."""
    fields, size = header.fields(element), element.row_size
    return [columns_at(block, len(block) // size, size, *fields[name], 1)[:, 0] for name in names]


def _units_11_10_11(words: NDArray[np.uint32]) -> Doubles:
    """Three fractions in [0, 1] of each word, [N, 3]."""
    return np.stack([(words >> 21) / 2047, (words >> 11 & 1023) / 1023, (words & 2047) / 2047], axis=1)


def _between(ends: Doubles, fraction: Doubles) -> Doubles:
    low, high = ends
    mixed: Doubles = low * (1 - fraction) + high * fraction
    return mixed


def _quaternions(words: NDArray[np.uint32]) -> Doubles:
    """wxyz of unit norm, [N, 4]."""
    three = np.stack([(words >> shift & 1023) / 1023 - 0.5 for shift in (20, 10, 0)], axis=1) * np.sqrt(2)
    return restore_largest(words >> 30, three)
