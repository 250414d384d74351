"""One pyramid in every format is one mesh; what is none is refused in a line."""

import struct
from pathlib import Path

import numpy as np
import pytest
from damaged_files import check_refusal, found_damaged

from ssl_core.errors import MeshError
from ssl_core.meshes.mesh import face_areas
from ssl_core.meshes.mesh_file import read_mesh

VERTICES = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0], [1, 1, 3]], dtype=np.float64)
FACES = [(0, 3, 2, 1), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)]
TRIANGLES = [(0, 3, 2), (0, 2, 1), *FACES[1:]]
ROWS = "".join(f"{x} {y} {z}\n" for x, y, z in VERTICES)
ROWS += "".join(f"{len(face)} {' '.join(map(str, face))}\n" for face in FACES)


def off(path: Path) -> None:
    path.write_text("OFF\n5 5 0\n" + ROWS)


def obj(path: Path) -> None:
    lines = ["# a pyramid", *(f"v {x} {y} {z}" for x, y, z in VERTICES), "vn 0 0 1", "usemtl stone"]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}/1" for i in face) for face in FACES[:3]]
    lines += ["f " + " ".join(str(i - 5) for i in face) for face in FACES[3:]]
    path.write_text("\n".join(lines))


def binary_stl(path: Path) -> None:
    facets = [struct.pack("<12fH", 0, 0, 0, *VERTICES[list(face)].reshape(-1), 0) for face in TRIANGLES]
    path.write_bytes(b"solid, says a careless exporter".ljust(80) + struct.pack("<I", len(facets)) + b"".join(facets))


def ascii_stl(path: Path) -> None:
    lines = ["solid pyramid"]
    for face in TRIANGLES:
        corners = [f"vertex {x} {y} {z}" for x, y, z in VERTICES[list(face)]]
        lines += ["facet normal 0 0 0", "outer loop", *corners, "endloop", "endfacet"]
    path.write_text("\n".join([*lines, "endsolid pyramid"]))


def ply(path: Path) -> None:
    head = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 5\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_text(head + ROWS)


FORMATS = [("a.off", off), ("a.obj", obj), ("a.stl", binary_stl), ("b.STL", ascii_stl), ("a.ply", ply)]


@pytest.mark.parametrize(("name", "write"), FORMATS)
def test_a_pyramid(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    mesh = read_mesh(tmp_path / name)
    assert len(mesh.faces) == 6
    assert len(mesh.vertices) == 5
    assert float(face_areas(mesh).sum()) == pytest.approx(4 + 4 * np.sqrt(10), rel=1e-6)
    triangles = {tuple(map(tuple, np.sort(corners, axis=0))) for corners in mesh.triangles().tolist()}
    assert triangles == {tuple(map(tuple, np.sort(VERTICES[list(face)], axis=0))) for face in TRIANGLES}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.obj", b"", "is empty"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no face with an area"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "names vertex 8 of 3"),
        ("a.obj", b"v 0 0 0\nf a b c\n", "line 2 is not a face"),
        ("a.obj", b"v 0 0 x\nf 1 1 1\n", "is not three numbers"),
        ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN"),
        ("a.stl", b"x" * 80 + struct.pack("<I", 7) + b"y" * 50, "7 facets take"),
        ("a.stl", b"solid\nvertex 0 0 0\nvertex 1 0 0\n", "no whole triangles"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "without faces"),
        ("a.ply", b"nothing", "is no readable .ply"),
        ("a.glb", b"glTF", "is no known file of a mesh"),
    ],
)
def test_what_is_no_mesh(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    check_refusal(tmp_path / name, content, read_mesh, MeshError, words)


@pytest.mark.parametrize(("name", "write"), FORMATS)
def test_damage_is_refused_in_one_line_or_read(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    found = found_damaged(tmp_path / name, read_mesh, MeshError, seed=2)
    assert all(np.isfinite(mesh.vertices).all() for mesh in found)
