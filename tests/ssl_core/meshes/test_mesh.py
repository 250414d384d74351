"""Meshes: OFF dialects, refusals, areas, sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import MeshError
from ssl_core.meshes.mesh import GREY, Mesh, face_areas, sample_surface
from ssl_core.meshes.mesh_file import read_mesh

TETRAHEDRON = ["4 4 6", "0 0 0", "1 0 0", "0 1 0", "0 0 1", "3 0 2 1", "3 0 1 3", "3 0 3 2", "3 1 2 3"]


def write(tmp_path, *lines: str):
    path = tmp_path / "mesh.off"
    path.write_text("\n".join(lines) + "\n")
    return path


def refusal(path) -> str:
    with pytest.raises(MeshError) as caught:
        read_mesh(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("glue", ["OFF\n", "OFF", "OFF \n# made by hand\n\n"])
def test_the_tetrahedron(tmp_path, glue):
    path = tmp_path / "mesh.off"
    path.write_text(glue + "\n".join(TETRAHEDRON) + "\n")
    mesh = read_mesh(path)
    assert mesh.vertices.shape == (4, 3)
    assert mesh.faces.tolist() == [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    np.testing.assert_allclose(mesh.face_colours, GREY)
    np.testing.assert_allclose(face_areas(mesh), [0.5, 0.5, 0.5, np.sqrt(3) / 2], rtol=1e-6)
    assert (mesh.vertices.dtype, mesh.faces.dtype, mesh.face_colours.dtype) == (
        np.float32,
        np.int64,
        np.float32,
    )


def test_windows_line_ends_and_spaces(tmp_path):
    path = tmp_path / "mesh.off"
    path.write_bytes(("OFF\r\n" + "\r\n".join("  " + line + " " for line in TETRAHEDRON)).encode())
    assert len(read_mesh(path).faces) == 4


@given(corners=st.integers(3, 12), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_polygon_keeps_its_area(corners, seed, scratch):
    angles = np.sort(np.random.default_rng(seed).uniform(0, 2 * np.pi, corners))
    x, y = np.cos(angles), np.sin(angles)
    expected = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    if expected < 1e-3:
        return
    lines = [f"{a:.9f} {b:.9f} 0" for a, b in zip(x, y, strict=True)]
    face = " ".join(map(str, range(corners)))
    mesh = read_mesh(write(scratch, "OFF", f"{corners} 1 0", *lines, f"{corners} {face}"))
    assert len(mesh.faces) <= corners - 2
    np.testing.assert_allclose(face_areas(mesh).sum(), expected, rtol=1e-4)


def test_mixed_polygons_and_face_colours(tmp_path):
    square = ["OFF", "4 3 0", "0 0 0", "1 0 0", "1 1 0", "0 1 0"]
    mesh = read_mesh(write(tmp_path, *square, "4 0 1 2 3 255 0 51", "3 0 1 2", "3 0 2 3 0 0 255 255"))
    assert len(mesh.faces) == 4
    colours = {tuple(np.round(colour, 3).tolist()) for colour in mesh.face_colours.astype(float)}
    assert colours == {(1.0, 0.0, 0.2), (0.7, 0.7, 0.7), (0.0, 0.0, 1.0)}


def test_degenerate_faces_are_dropped(tmp_path):
    lines = ["OFF", "5 5 0", "0 0 0", "1 0 0", "0 1 0", "2 0 0", "0 0 0"]
    faces = ["3 0 1 1", "3 0 1 3", "2 0 1", "3 0 4 1", "3 0 1 2"]
    assert read_mesh(write(tmp_path, *lines, *faces)).faces.tolist() == [[0, 1, 2]]
    assert "no face with an area" in refusal(write(tmp_path, *lines, *faces[:4], faces[0]))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([""], "not an OFF mesh"),
        (["ply"], "not an OFF mesh"),
        (["COFF", *TETRAHEDRON], "not an OFF mesh"),
        (["OFF"], "counts"),
        (["OFF", "four 4 6"], "counts"),
        (["OFF", "-4 4 6"], "counts"),
        (["OFF", "99999999999999 4 6", *TETRAHEDRON[1:]], "truncated"),
        (["OFF", *TETRAHEDRON[:-1]], "truncated"),
        (["OFF", "0 0 0"], "no vertices"),
        (["OFF", "1 0 0", "0 0 0"], "no face"),
        (["OFF", "4 4 6", "0 0", *TETRAHEDRON[2:]], "three numbers"),
        (["OFF", "4 4 6", "0 0 zero", *TETRAHEDRON[2:]], "three numbers"),
        (["OFF", "4 4 6", "0 0 nan", *TETRAHEDRON[2:]], "1 vertices are NaN"),
        (["OFF", "4 4 6", "0 1e60 0", *TETRAHEDRON[2:]], "1 vertices are NaN or infinite"),
        (["OFF", *TETRAHEDRON[:-1], "3 1 2 4"], "vertex 4 of 4"),
        (["OFF", *TETRAHEDRON[:-1], "3 1 2 -1"], "vertex -1 of 4"),
        (["OFF", *TETRAHEDRON[:-1], "3 1 2"], "not a face"),
        (["OFF", *TETRAHEDRON[:-1], "3 1 2 2.5"], "damaged"),
        (["OFF", *TETRAHEDRON[:-1], "x 1 2 3"], "not a face"),
    ],
)
def test_refusals(tmp_path, lines, says):
    assert says in refusal(write(tmp_path, *lines))


def test_missing_and_binary_files(tmp_path):
    assert "check the path" in refusal(tmp_path / "none.off")
    (tmp_path / "b.off").write_bytes(b"OFF\n" + bytes(range(256)))
    refusal(tmp_path / "b.off")


def test_normalised_touches_the_unit_sphere(tmp_path):
    mesh = read_mesh(write(tmp_path, "OFF", *TETRAHEDRON))
    far = Mesh(mesh.vertices * (3, 5, 70) + (100, -30, 7), mesh.faces, mesh.face_colours)
    # A vertex that no face uses does not count.
    far = Mesh(np.concatenate([far.vertices, [[1e4, 0, 0]]]).astype(np.float32), far.faces, far.face_colours)
    points = far.normalised().vertices[:4]
    np.testing.assert_allclose(np.linalg.norm(points, axis=1).max(), 1, atol=1e-6)
    np.testing.assert_allclose(points.min(axis=0), -points.max(axis=0), atol=1e-6)
    again = far.normalised().normalised()
    np.testing.assert_allclose(again.vertices[:4], points, atol=1e-6)


def test_samples_lie_on_their_faces_in_proportion_to_area(tmp_path):
    mesh = read_mesh(write(tmp_path, "OFF", *TETRAHEDRON))
    n = 20_000
    points, index = sample_surface(mesh, n, np.random.default_rng(0))
    a, b, c = np.moveaxis(mesh.triangles()[index], 1, 0)
    basis = np.stack([b - a, c - a, np.cross(b - a, c - a)], axis=2)
    u, v, w = np.linalg.solve(basis, (points - a)[:, :, None])[:, :, 0].T
    np.testing.assert_allclose(w, 0, atol=1e-5)
    assert min(u.min(), v.min(), (1 - u - v).min()) > -1e-5
    shares = face_areas(mesh) / face_areas(mesh).sum()
    deviation = np.sqrt(shares * (1 - shares) / n)
    assert (np.abs(np.bincount(index, minlength=4) / n - shares) < 5 * deviation).all()
    # Uniform on a triangle: each barycentric coordinate has mean 1/3 and variance 1/18.
    for weight in (u, v, 1 - u - v):
        assert abs(weight.mean() - 1 / 3) < 5 * np.sqrt(1 / 18 / n)
        assert abs(weight.var() - 1 / 18) < 0.002


def test_sampling_is_reproducible(tmp_path):
    mesh = read_mesh(write(tmp_path, "OFF", *TETRAHEDRON))
    first, second = (sample_surface(mesh, 50, np.random.default_rng(4))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_real_meshes(shared_data):
    files = sorted((shared_data / "modelnet10_off").glob("*/test/*.off"))[::6]
    assert len(files) > 30
    for file in files:
        mesh = read_mesh(file).normalised()
        assert np.isfinite(mesh.vertices).all()
        assert (face_areas(mesh) > 0).all()
        points, _ = sample_surface(mesh, 64, np.random.default_rng(0))
        assert np.linalg.norm(points, axis=1).max() <= 1 + 1e-5
