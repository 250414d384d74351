"""Gaussian .ply files: every dialect in, INRIA's 62 properties out.

Reading finds properties by name, in any order, ignores those it does not need, and takes ascii and both byte
orders. Whatever is wrong with a file is a PlyError that names the file, the property and what to do.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyParseError

from ssl_core.config import nearest
from ssl_core.data.atomic import atomic_write
from ssl_core.data.gaussians import SH_REST, Floats, GaussianCloud
from ssl_core.data.ply_header import PlyElementHeader, PlyHeader, read_header
from ssl_core.errors import PlyError

XYZ = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")
DC = tuple(f"f_dc_{i}" for i in range(3))
SCALES = tuple(f"scale_{i}" for i in range(3))
ROTATION = tuple(f"rot_{i}" for i in range(4))
NEEDED = (*XYZ, *DC, "opacity", *SCALES, *ROTATION)
INRIA_PROPERTIES = (*XYZ, *NORMALS, *DC, *(f"f_rest_{i}" for i in range(45)), "opacity", *SCALES, *ROTATION)
"""Names and order of the properties that the authors' trainer writes and their viewers expect."""

FLOATS = ("float", "float32", "double", "float64")


def read_gaussian_ply(path: Path) -> GaussianCloud:
    """Read a Gaussian .ply of SH degree 0 to 3.

    Raises:
        PlyError: missing, truncated, empty or no .ply; a property missing, of the wrong type or not finite; a
            number of f_rest properties that belongs to no degree; a zero quaternion.
    """
    path = Path(path)
    header = read_header(path)
    vertex = _vertex_header(path, header)
    rest = _rest_names(path, vertex)
    rows = _read_rows(path, ascii_text=header.format == "ascii")

    def columns(names: tuple[str, ...]) -> Floats:
        table = np.empty((len(rows), len(names)), dtype=np.float32)
        # A double beyond float32 becomes inf and is refused below, by name.
        with np.errstate(over="ignore"):
            for i, name in enumerate(names):
                table[:, i] = rows[name]
        _check_finite(path, names, table)
        return table

    cloud = GaussianCloud(
        xyz=columns(XYZ),
        opacity_logits=columns(("opacity",))[:, 0],
        log_scales=columns(SCALES),
        quaternions=columns(ROTATION),
        sh_dc=columns(DC),
        # On disk channel-major: all of red, then green, then blue.
        sh_rest=columns(rest).reshape(len(rows), 3, len(rest) // 3).transpose(0, 2, 1),
    )
    _check_quaternions(path, cloud)
    return cloud


def write_gaussian_ply(path: Path, cloud: GaussianCloud) -> None:
    """Write INRIA's 62 float properties, binary little-endian, atomically.

    Normals are zero, as theirs; coefficients up to degree 3 are zero-padded, so that
    `read_gaussian_ply(path)` equals `cloud.padded(3)`.

    Raises:
        PlyError: the cloud is empty or holds what the reader would refuse.
        StorageError: the disk is full or not writable.
    """
    path = Path(path)
    if len(cloud) == 0:
        raise PlyError(f"{path}: not written: the cloud has no Gaussians; lower the threshold that emptied it")
    rest = cloud.padded(3).sh_rest.transpose(0, 2, 1).reshape(len(cloud), 45)
    columns = [
        cloud.xyz,
        np.zeros_like(cloud.xyz),
        cloud.sh_dc,
        rest,
        cloud.opacity_logits[:, None],
        cloud.log_scales,
        cloud.quaternions,
    ]
    table = np.ascontiguousarray(np.concatenate(columns, axis=1), dtype="<f4")
    _check_finite(path, INRIA_PROPERTIES, table)
    _check_quaternions(path, cloud)
    rows = table.view([(name, "<f4") for name in INRIA_PROPERTIES])[:, 0]
    with atomic_write(path) as stream:
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(stream)


def _vertex_header(path: Path, header: PlyHeader) -> PlyElementHeader:
    """The `vertex` element, which has rows and every needed property as a float."""
    vertex = next((element for element in header.elements if element.name == "vertex"), None)
    if vertex is None or vertex.count == 0:
        raise PlyError(f"{path}: has no vertices, so no Gaussians; train or export it again")
    if "packed_position" in vertex.types:
        raise PlyError(f"{path}: is a compressed .ply (packed_position); export it uncompressed")
    missing = [name for name in NEEDED if name not in vertex.types]
    if missing:
        hint = nearest(missing[0], [name for name in vertex.types if name not in NEEDED])
        raise PlyError(
            f"{path}: lacks property '{missing[0]}'{hint or ' and nothing like it'}"
            f" ({len(missing)} of {len(NEEDED)} needed are missing: {', '.join(missing)}); "
            "a Gaussian .ply has centre, f_dc, opacity, scale and rot: export it from a splat trainer"
        )
    for name, kind in vertex.types.items():
        if (name in NEEDED or name.startswith("f_rest_")) and kind not in FLOATS:
            raise PlyError(f"{path}: property '{name}' is of type {kind}; expected float or double: export it again")
    return vertex


def _rest_names(path: Path, vertex: PlyElementHeader) -> tuple[str, ...]:
    """f_rest_0 to f_rest_{n-1} for the degree the file has."""
    found = {name for name in vertex.types if re.fullmatch(r"f_rest_\d+", name)}
    names = tuple(f"f_rest_{i}" for i in range(len(found)))
    allowed = [3 * count for count in SH_REST]
    if len(found) not in allowed:
        raise PlyError(
            f"{path}: has {len(found)} f_rest properties; expected {', '.join(map(str, allowed[:-1]))} or "
            f"{allowed[-1]} (SH degree 0, 1, 2 or 3): export it with one of these degrees"
        )
    if found != set(names):
        gap = next(name for name in names if name not in found)
        raise PlyError(f"{path}: lacks property '{gap}' though it has {len(found)} f_rest properties; export it again")
    return names


def _read_rows(path: Path, *, ascii_text: bool) -> NDArray[np.void]:
    """The structured rows of the vertex element."""
    try:
        if ascii_text:
            _check_last_line(path)
        rows: NDArray[np.void] = PlyData.read(str(path))["vertex"].data
    # The parser lets malformed text surface as whatever numpy raised on it.
    except (PlyParseError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise PlyError(f"{path}: is truncated or damaged: {_one_line(error)}; copy or export the file again") from error
    except OSError as error:
        raise PlyError(f"{path}: cannot be read: {_one_line(error)}; check the disk and the file's rights") from error
    return rows


def _check_last_line(path: Path) -> None:
    """Refuse an ascii file whose last line is open: a number cut in half still looks like a number."""
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        if stream.read(1) not in (b"\n", b"\r"):
            raise PlyError(f"{path}: is truncated: the last line has no line end; copy it again (or end the line)")


def _check_finite(path: Path, names: tuple[str, ...], table: Floats) -> None:
    """Refuse NaN and infinity, naming each property that holds them."""
    finite = np.isfinite(table)
    if finite.all():
        return
    bad = []
    for i in np.flatnonzero(~finite.all(axis=0)):
        nans = int(np.isnan(table[:, i]).sum())
        infinite = int((~finite[:, i]).sum()) - nans
        bad.append(f"'{names[i]}' ({nans} NaN, {infinite} infinite)")
    first = int(np.flatnonzero(~finite.all(axis=1))[0])
    raise PlyError(
        f"{path}: not finite in {len(bad)} properties: {', '.join(bad[:6])}{' …' if len(bad) > 6 else ''}; "
        f"{len(table)} Gaussians, first bad one {first}: drop these Gaussians or train again"
    )


def _check_quaternions(path: Path, cloud: GaussianCloud) -> None:
    zero = ~cloud.quaternions.any(axis=1)
    if zero.any():
        raise PlyError(
            f"{path}: rot_0 to rot_3 are all zero for {int(zero.sum())} of {len(cloud)} Gaussians "
            f"(first: {int(np.argmax(zero))}); a quaternion may have any norm but zero: drop these Gaussians"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
