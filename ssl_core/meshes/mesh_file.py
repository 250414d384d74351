"""Triangle meshes of the usual files, told by their endings: .off, .obj, .stl and .ply.

Wavefront OBJ (1995, appendix B1): `v x y z`, `f i/t/n ...` counted from 1, or from the end where negative. STL (3D
Systems, 1989), ascii and binary: corners that are equal become one vertex. PLY: `vertex_indices` of `face`. Materials
and textures are not read: faces are grey but for .off files with colours.
"""

import io
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyParseError

from ssl_core.errors import MeshError
from ssl_core.files.source import Source, as_source
from ssl_core.meshes.mesh import MAX_CORNERS, Mesh, checked_mesh, decode_off, mesh_bytes

MESH_SUFFIXES = (".off", ".obj", ".stl", ".ply")

_STL_HEADER, _STL_FACET = 80, 50


def read_mesh(place: Source | Path | str) -> Mesh:
    """Read a mesh; polygons become fans of triangles, faces without area are dropped.

    Raises:
        MeshError: missing, of no known ending, damaged, without faces, an index beyond the vertices, a vertex that is
            not finite, or no face with an area. Names the file and the remedy.
    """
    source = as_source(place)
    ending = PurePosixPath(source.name).suffix.lower()
    if ending not in MESH_SUFFIXES:
        raise MeshError(f"{source}: is no known file of a mesh; expected one of {', '.join(MESH_SUFFIXES)}")
    content = mesh_bytes(source)
    decode = {".off": decode_off, ".obj": _decode_obj, ".stl": _decode_stl, ".ply": _decode_ply}[ending]
    try:
        if not content:
            raise MeshError("is empty (0 bytes); write or copy it again")
        return decode(content)
    except MeshError as error:
        raise MeshError(f"{source}: {error}") from None


def _decode_obj(content: bytes) -> Mesh:
    vertices: list[list[str]] = []
    polygons: list[list[int]] = []
    for number, line in enumerate(content.decode("ascii", errors="replace").splitlines(), start=1):
        match line.split():
            case ["v", x, y, z, *_]:
                vertices.append([x, y, z])
            case ["f", *corners]:
                polygons.append(_obj_corners(corners, len(vertices), number))
    try:
        places = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise MeshError(f"a vertex is not three numbers ({error}); export it again") from None
    return _of_polygons(places, polygons)


def _obj_corners(corners: list[str], vertices: int, line: int) -> list[int]:
    """Vertices of one face, counted from 0."""
    try:
        numbers = [int(corner.partition("/")[0]) for corner in corners]
    except ValueError:
        numbers = [0]
    if 0 in numbers or len(numbers) > MAX_CORNERS:
        raise MeshError(f"line {line} is not a face: {' '.join(corners)[:60]!r}; the file is damaged, copy it again")
    return [number - 1 if number > 0 else vertices + number for number in numbers]


def _decode_stl(content: bytes) -> Mesh:
    facets = int.from_bytes(content[_STL_HEADER : _STL_HEADER + 4], "little")
    first = _STL_HEADER + 4
    # exporters write "solid" into binary headers, too: the length tells
    if len(content) >= first and len(content) == first + _STL_FACET * facets:
        rows = np.frombuffer(content, np.uint8, offset=first).reshape(-1, _STL_FACET)
        corners = np.ascontiguousarray(rows[:, 12:48]).view("<f4").reshape(-1, 3).astype(np.float64)
    elif content.lstrip()[:5].lower() == b"solid":
        corners = _ascii_corners(content.decode("ascii", errors="replace"))
    else:
        raise MeshError(
            f"is no .stl: {facets:,} facets take {first + _STL_FACET * facets:,} bytes, it has {len(content):,}; "
            "copy it again"
        )
    vertices, faces = np.unique(corners, axis=0, return_inverse=True)
    return checked_mesh(vertices, faces.reshape(-1, 3))


def _ascii_corners(text: str) -> NDArray[np.float64]:
    """[3 F, 3]."""
    words = [line.split()[1:] for line in text.splitlines() if line.split()[:1] == ["vertex"]]
    try:
        corners = np.array(words, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise MeshError(f"a vertex is not three numbers ({error}); export it again") from None
    if len(corners) % 3:
        raise MeshError(f"is truncated: {len(corners)} corners are no whole triangles; copy it again")
    return corners


def _decode_ply(content: bytes) -> Mesh:
    try:
        data = PlyData.read(io.BytesIO(content), mmap=False)
        names = [element.name for element in data.elements]
        if "vertex" not in names or "face" not in names or not len(data["face"].data):
            raise MeshError("is a .ply without faces; pack points and Gaussians with --points")
        vertex, face = data["vertex"].data, data["face"].data
        places = np.stack([vertex[axis].astype(np.float64) for axis in "xyz"], axis=1)
        lists = next(name for name in ("vertex_indices", "vertex_index") if name in (face.dtype.names or ()))
        polygons = [corners.astype(np.int64).tolist() for corners in face[lists]]
    except (PlyParseError, ValueError, KeyError, StopIteration, AttributeError, MemoryError, EOFError) as error:
        reason = " ".join(str(error).split())[:120] or "no list vertex_indices of its faces"
        raise MeshError(f"is no readable .ply of a mesh ({reason}); export it again") from None
    return _of_polygons(places, polygons)


def _of_polygons(vertices: NDArray[np.float64], polygons: list[list[int]]) -> Mesh:
    """Fans of triangles; what has fewer than three corners is left out."""
    by_length: dict[int, list[list[int]]] = {}
    for corners in polygons:
        by_length.setdefault(len(corners), []).append(corners)
    fans = [np.empty((0, 3), np.int64)]
    for length, members in by_length.items():
        table = np.array(members, dtype=np.int64)
        fans += [table[:, [0, i, i + 1]] for i in range(1, length - 1)]
    return checked_mesh(vertices, np.concatenate(fans))
