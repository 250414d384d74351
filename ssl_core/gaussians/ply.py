"""Gaussian .ply files: every dialect in, INRIA's 62 properties out.

Reading finds properties by name, in any order, skips those it does not need whatever their type, and takes ascii and
both byte orders, other elements, lists, doubles, and SH degree 0 to 4. Memory is 236 bytes per Gaussian and one block.
Whatever is wrong with a file is a PlyError that names the file, the property and what to do.

Properties as in Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering"
(https://arxiv.org/abs/2308.04079), whose trainer fixed their names.
"""

import re
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from plyfile import PlyData, PlyElement

from ssl_core.config import nearest
from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.files.whole import atomic_write
from ssl_core.gaussians.channel_ply import channel_names, check_channels
from ssl_core.gaussians.formats.bounded_reading import columns_at, finish, naming, opened
from ssl_core.gaussians.formats.compressed_ply import decode_compressed, is_compressed
from ssl_core.gaussians.formats.gaussian_properties import (
    INRIA_PROPERTIES,
    NEEDED,
    SCALES,
    STORED_REST,
    check_count,
    named_columns,
)
from ssl_core.gaussians.formats.not_gaussians import by_header
from ssl_core.gaussians.formats.ply_dialects import dialect_notes, give_thickness, is_flat
from ssl_core.gaussians.formats.ply_header import PlyElementHeader, PlyHeader, check_nothing_left, read_header
from ssl_core.gaussians.formats.ply_rows import Rows, open_rows
from ssl_core.gaussians.gaussian_cloud import SH_REST, Floats, GaussianCloud, GaussianFile, empty_cloud
from ssl_core.gaussians.usable_rows import check_gaussians

FLOATS = ("float", "float32", "double", "float64")


def decode(source: Source, limit: int) -> GaussianFile:
    """Read a Gaussian .ply, SuperSplat's compressed kind too, of at most `limit` Gaussians.

    Raises:
        PlyError: missing, truncated, empty or no .ply; a property missing or of the wrong type; a number of f_rest
            properties that belongs to no degree; too many Gaussians.
    """
    with opened(source, PlyError) as stream:
        header = read_header(source, stream)
        if is_compressed(header):
            compressed = decode_compressed(source, stream, header, limit)
            check_nothing_left(header)
            return compressed
        vertex = _vertex_header(header)
        check_nothing_left(header)
        stored_rest = _count_rest(vertex)
        check_count(vertex.count, limit)
        cloud = _read_cloud(source, stream, header, vertex, stored_rest)
    degree = STORED_REST.index(stored_rest)
    notes = ("spherical harmonics of degree 4 were cut to degree 3",) if degree > 3 else ()
    return GaussianFile(cloud, "ply", degree, (*notes, *dialect_notes(vertex.types.keys())))


def write_gaussian_ply(
    path: Path, cloud: GaussianCloud, *, prefix: str = "channel", channels: Floats | None = None
) -> None:
    """Write INRIA's 62 float properties, binary little-endian, atomically.

    Normals are zero, as theirs; coefficients up to degree 3 are zero-padded, so that
    reading it gives `cloud.padded(3)`.

    Args:
        path: of the file.
        cloud: at least one Gaussian.
        prefix: of the names of channels, `label` for label_0, label_1 and so on.
        channels: further numbers of each Gaussian, [N, C]; behind the others, where readers that do not know them
            skip them. `channel_ply.read_channels` reads them.

    Raises:
        PlyError: the cloud is empty or holds what the reader would refuse, or the channels do.
        StorageError: the disk is full or not writable.
    """
    path = Path(path)
    with naming(f"{path}: not written", PlyError):
        if len(cloud) == 0:
            raise PlyError("the cloud has no Gaussians; lower the threshold that emptied it")
        check_gaussians(cloud)
        extra = np.zeros((len(cloud), 0), np.float32) if channels is None else channels
        check_channels(extra, prefix, len(cloud))
    rest = cloud.padded(3).sh_rest.transpose(0, 2, 1).reshape(len(cloud), 45)
    columns = [
        cloud.xyz,
        np.zeros_like(cloud.xyz),
        cloud.sh_dc,
        rest,
        cloud.opacity_logits[:, None],
        cloud.log_scales,
        cloud.quaternions,
        extra,
    ]
    names = (*INRIA_PROPERTIES, *channel_names(prefix, extra.shape[1]))
    table = np.ascontiguousarray(np.concatenate(columns, axis=1), dtype="<f4")
    rows = table.view([(name, "<f4") for name in names])[:, 0]
    with atomic_write(path) as stream:
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(stream)


def _vertex_header(header: PlyHeader) -> PlyElementHeader:
    """The `vertex` element, which has rows and every needed property as a float."""
    vertex = header.element("vertex")
    if vertex is None or vertex.count == 0:
        raise PlyError("has no vertices, so no Gaussians; train or export it again")
    missing = [] if is_flat(vertex.types) else [name for name in NEEDED if name not in vertex.types]
    if found := by_header(header):
        raise PlyError(f"is a {found}")
    if missing:
        # Looking for near names is slow, and a header may name tens of thousands.
        shown = (name for name in vertex.types if len(name) < 40 and name.isprintable())
        others = islice((name for name in shown if name not in NEEDED), 200)
        hint = nearest(missing[0], others)
        raise PlyError(
            f"lacks property '{missing[0]}'{hint or ' and nothing like it'}"
            f" ({len(missing)} of {len(NEEDED)} needed are missing: {', '.join(missing)}); "
            "a Gaussian .ply has centre, f_dc, opacity, scale and rot: export it from a splat trainer"
        )
    for name, kind in vertex.types.items():
        if (name in NEEDED or re.fullmatch(r"f_rest_\d+", name)) and kind not in FLOATS:
            raise PlyError(f"property '{name[:40]}' is of type {kind}; expected float or double: export it again")
    return vertex


def _count_rest(vertex: PlyElementHeader) -> int:
    """Number of f_rest properties, which are f_rest_0 to f_rest_{n-1} of some degree."""
    found = {name for name in vertex.types if re.fullmatch(r"f_rest_\d+", name)}
    if len(found) not in STORED_REST:
        raise PlyError(
            f"has {len(found)} f_rest properties; expected {', '.join(map(str, STORED_REST[:-1]))} or "
            f"{STORED_REST[-1]} (SH degree 0, 1, 2, 3 or 4): export it with one of these degrees"
        )
    gap = next((i for i in range(len(found)) if f"f_rest_{i}" not in found), None)
    if gap is not None:
        raise PlyError(f"lacks property 'f_rest_{gap}' though it has {len(found)} f_rest properties; export it again")
    return len(found)


def _read_cloud(
    source: Source, stream: BinaryIO, header: PlyHeader, vertex: PlyElementHeader, stored_rest: int
) -> GaussianCloud:
    """The rows of `vertex` as arrays."""
    rows = open_rows(source, stream, header, "vertex")
    cloud = empty_cloud(vertex.count, min(stored_rest // 3, SH_REST[-1]))
    # Of flat Gaussians the third scale is not there; until it is known it is the first.
    flat = {SCALES[2]: SCALES[0]} if is_flat(vertex.types) else {}
    columns = (
        (tuple(flat.get(name, name) for name in names), table) for names, table in named_columns(cloud, stored_rest)
    )
    runs = [run for names, table in columns for run in _runs(rows, names, table)]
    # A double beyond float32 becomes inf, which `usable` deals with.
    with np.errstate(over="ignore"):
        for at, block in rows.blocks:
            for table, offset, dtype in runs:
                table[at] = columns_at(block, at.stop - at.start, rows.row_size, offset, dtype, table.shape[1])
    finish(source, stream)
    if header.format != "ascii":
        _check_byte_order(header, cloud)
    if flat:
        give_thickness(cloud)
    return cloud


def _check_byte_order(header: PlyHeader, cloud: GaussianCloud) -> None:
    """Refuse a file whose header names the wrong byte order: swapped bytes are often numbers too, of any size.

    Only where many values have no believable size as they stand and nearly all have one when swapped.
    """
    arrays = (cloud.xyz, cloud.opacity_logits, cloud.log_scales, cloud.quaternions, cloud.sh_dc)
    values = np.concatenate([array[:256].ravel() for array in arrays])
    # Different ones: a single odd value in every place says nothing.
    values = np.unique(values[values != 0])
    if len(values) >= 8 and _believable(values) < 0.6 and _believable(values.byteswap()) > 0.95:
        raise PlyError(
            f"the values of x to rot_3 make sense only with their bytes swapped: the header's "
            f"'{header.format}' is wrong; export it again, or correct that word"
        )


def _believable(values: Floats) -> float:
    """Share of values between 1e-7 and 1e7; of random exponents it is a fifth."""
    sizes = np.abs(values)
    return float(((sizes > 1e-7) & (sizes < 1e7)).sum() / len(values))


def _runs(rows: Rows, names: tuple[str, ...], table: Floats) -> list[tuple[Floats, int, np.dtype[Any]]]:
    """Columns that stand side by side in the file too, to be copied as one: (columns of table, offset, type)."""
    found = [rows.fields[name] for name in names]
    starts = [
        i
        for i, (offset, dtype) in enumerate(found)
        if i == 0 or found[i - 1][1] != dtype or found[i - 1][0] + dtype.itemsize != offset
    ]
    ends = [*starts[1:], len(names)]
    return [(table[:, start:end], *found[start]) for start, end in zip(starts, ends, strict=True)]
