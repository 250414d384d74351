"""Triangle meshes and the OFF files of ModelNet.

OFF as in ModelNet (https://modelnet.cs.princeton.edu): the word `OFF`, sometimes with the counts glued to it;
vertex, face and edge counts; one vertex a line; one polygon a line as `n i1 ... in`, sometimes with a colour.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import DataError, MeshError
from ssl_core.files.source import Source, read_bytes

GREY = 0.7
"""Colour of faces whose file gives none."""

DEGENERATE = 1e-12
"""Faces with less area than this share of the squared extent are dropped: they have no usable normal."""

MAX_CORNERS = 10_000

MAX_BYTES = 2**30
"""A larger file of a mesh is refused unread."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh."""

    vertices: NDArray[np.float32]  # [V, 3] float32, object units
    faces: NDArray[np.int64]  # [F, 3] int64 vertex indices, F > 0
    face_colours: NDArray[np.float32]  # [F, 3] float32 in [0, 1]

    def triangles(self) -> NDArray[np.float64]:
        """Corners of the faces, [F, 3, 3]."""
        return self.vertices.astype(np.float64)[self.faces]

    def normalised(self) -> "Mesh":
        """Centred on the box around its faces and scaled into the unit sphere, which it touches."""
        used = self.triangles().reshape(-1, 3)
        centre = (used.min(axis=0) + used.max(axis=0)) / 2
        radius = np.linalg.norm(used - centre, axis=1).max()
        return replace(self, vertices=((self.vertices - centre) / radius).astype(np.float32))


def face_normals(mesh: Mesh) -> NDArray[np.float64]:
    """Normals of the faces, [F, 3], twice as long as their areas."""
    a, b, c = np.moveaxis(mesh.triangles(), 1, 0)
    return np.cross(b - a, c - a)


def unit_normals(mesh: Mesh) -> NDArray[np.float64]:
    """[F, 3] unit normals; those without a normal get the z axis."""
    normals = face_normals(mesh)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])


def face_areas(mesh: Mesh) -> NDArray[np.float64]:
    """Areas of the faces, [F], squared object units."""
    return np.asarray(np.linalg.norm(face_normals(mesh), axis=1) / 2)


def sample_surface(mesh: Mesh, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`n` points uniform in area: points [n, 3] and the face each lies on, [n].

    Barycentric weights as in Osada et al. 2002, "Shape Distributions", equation 1.
    """
    cumulative = np.cumsum(face_areas(mesh))
    draws = rng.random(n) * cumulative[-1]
    face_index = np.minimum(np.searchsorted(cumulative, draws, side="right"), len(mesh.faces) - 1)
    root, share = np.sqrt(rng.random(n)), rng.random(n)
    weights = np.stack([1 - root, root * (1 - share), root * share], axis=1)
    points = np.einsum("ni,nix->nx", weights, mesh.triangles()[face_index])
    return points.astype(np.float32), face_index.astype(np.int64)


def mesh_bytes(source: Source) -> bytes:
    """All of a file of a mesh. Raises MeshError naming it."""
    try:
        return read_bytes(source, MAX_BYTES)
    except DataError as error:
        raise MeshError(str(error)) from None


def decode_off(content: bytes) -> Mesh:
    """The mesh of an OFF file's bytes. Raises MeshError."""
    return decode_off_faces(content)[0]


def decode_off_faces(content: bytes) -> tuple[Mesh, NDArray[np.int64], int]:
    """The same; of which face of the file, counted from 0, each triangle is, [F]; and how many faces the file has."""
    counts, lines = _read_lines(content)
    faces, colours, of = _faces(lines[counts[0] : counts[0] + counts[1]])
    mesh = _checked(_vertices(lines[: counts[0]]), faces, colours)
    keep = _with_area(mesh)
    return _chosen(mesh, keep), of[keep], counts[1]


def checked_mesh(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], colours: NDArray[np.float32] | None = None
) -> Mesh:
    """The mesh of vertices [V, 3] and faces [F, 3], without the faces that have no area; grey unless coloured [F, 3].

    Raises MeshError: a face names a vertex that is not there, a vertex is not finite, or no face has an area.
    """
    mesh = _checked(vertices, faces, colours)
    return _chosen(mesh, _with_area(mesh))


def _checked(vertices: NDArray[np.float64], faces: NDArray[np.int64], colours: NDArray[np.float32] | None) -> Mesh:
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        bad = faces.max() if faces.max() >= len(vertices) else faces.min()
        raise MeshError(f"a face names vertex {bad} of {len(vertices)} (counted from 0); export it again")
    finite = (np.abs(vertices) < np.finfo(np.float32).max).all(axis=1)
    if not finite.all():
        raise MeshError(f"{int((~finite).sum())} vertices are NaN or infinite; export it again")
    if colours is None:
        colours = np.full((len(faces), 3), GREY, np.float32)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64), colours)


def _read_lines(content: bytes) -> tuple[tuple[int, int], list[str]]:
    """(vertices, faces) as promised, and at least that many lines after the counts."""
    text = content.decode("ascii", errors="replace")
    lines = [line for line in (raw.partition("#")[0].strip() for raw in text.splitlines()) if line]
    if not lines or not lines[0].startswith("OFF"):
        raise MeshError("is not an OFF mesh (it does not start with 'OFF'); give ModelNet's .off files")
    if lines[0] == "OFF":
        del lines[0]
    else:
        lines[0] = lines[0].removeprefix("OFF")
    counts = lines[0].split() if lines else []
    if len(counts) < 2 or not all(count.isdecimal() and len(count) < 16 for count in counts[:2]):
        raise MeshError(f"expected the counts of vertices and faces after 'OFF', found {counts[:3]}; replace it")
    vertices, faces = int(counts[0]), int(counts[1])
    if len(lines) - 1 < vertices + faces:
        raise MeshError(
            f"is truncated: {vertices} vertices and {faces} faces are promised, "
            f"{len(lines) - 1} lines follow; copy it again"
        )
    return (vertices, faces), lines[1:]


def _vertices(lines: list[str]) -> NDArray[np.float64]:
    if not lines:
        raise MeshError("has no vertices; replace it")
    try:
        return np.loadtxt(lines, dtype=np.float64, usecols=(0, 1, 2), comments=None, ndmin=2)
    except (ValueError, IndexError) as error:
        raise MeshError(f"a vertex is not three numbers: {error}; export it again") from None


def _faces(lines: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Triangles [F, 3], colours [F, 3] and the line of each [F]; polygons with as many corners are read together."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for number, line in enumerate(lines):
        fields = line.split()
        corners = int(fields[0]) if fields[0].isdecimal() and len(fields[0]) < 6 else -1
        if not 0 <= corners <= MAX_CORNERS or len(fields) < corners + 1:
            raise MeshError(f"this is not a face: {line[:60]!r}; the file is damaged, copy it again")
        groups.setdefault((corners, len(fields) >= corners + 4), []).append(number)
    faces, colours, of = [np.empty((0, 3), np.int64)], [np.empty((0, 3), np.float32)], [np.empty(0, np.int64)]
    for (corners, coloured), members in groups.items():
        if corners < 3:
            continue
        polygons, tints = _polygons([lines[number] for number in members], corners, coloured)
        fans = [polygons[:, [0, i, i + 1]] for i in range(1, corners - 1)]
        faces.append(np.concatenate(fans))
        colours.append(np.tile(tints, (corners - 2, 1)))
        of.append(np.tile(np.array(members, np.int64), corners - 2))
    return np.concatenate(faces), np.concatenate(colours), np.concatenate(of)


def _polygons(lines: list[str], corners: int, coloured: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    try:
        indices = np.loadtxt(lines, dtype=np.int64, usecols=range(1, corners + 1), comments=None, ndmin=2)
        if not coloured:
            return indices, np.full((len(lines), 3), GREY, np.float32)
        tints = np.loadtxt(lines, np.float64, usecols=range(corners + 1, corners + 4), comments=None, ndmin=2)
    except (ValueError, IndexError) as error:
        raise MeshError(f"a face with {corners} corners is damaged: {error}; copy it again") from None
    # Colours are written either in 0..1 or in 0..255.
    scale = 255.0 if tints.max() > 1 else 1.0
    return indices, np.nan_to_num(np.clip(tints / scale, 0, 1), nan=GREY).astype(np.float32)


def _with_area(mesh: Mesh) -> NDArray[np.int64]:
    """Numbers of the faces that have an area. Raises MeshError: none has."""
    keep = np.empty(0, np.int64)
    if len(mesh.faces):
        corners = mesh.triangles().reshape(-1, 3)
        extent = float(np.linalg.norm(corners.max(axis=0) - corners.min(axis=0)))
        keep = np.flatnonzero(face_areas(mesh) > DEGENERATE * extent**2)
    if not len(keep):
        raise MeshError("has no face with an area; replace it")
    return keep


def _chosen(mesh: Mesh, faces: NDArray[np.int64]) -> Mesh:
    return replace(mesh, faces=mesh.faces[faces], face_colours=mesh.face_colours[faces])
