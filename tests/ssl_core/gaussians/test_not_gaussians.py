"""Point clouds and meshes are named as what they are, with what to do."""

import struct

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from ssl_core.errors import GaussianFileError, LayoutError
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.packing.layout import find_objects


def refusal(path) -> str:
    with pytest.raises(GaussianFileError) as caught:
        read_gaussians(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert "f_dc" not in text
    return text


def point_ply(path, names, *, faces: int = 0):
    rows = np.zeros(5, dtype=[(name, "u1" if name in ("red", "green", "blue") else "f4") for name in names])
    elements = [PlyElement.describe(rows, "vertex")]
    if faces:
        found = np.empty(faces, dtype=[("vertex_indices", "O")])
        found["vertex_indices"] = [np.arange(3, dtype="i4")] * faces
        elements.append(PlyElement.describe(found, "face"))
    PlyData(elements).write(str(path))
    return path


@pytest.mark.parametrize(
    "names", [(*"xyz", "red", "green", "blue"), (*"xyz", "nx", "ny", "nz", "red", "green", "blue"), (*"xyz",)]
)
def test_a_ply_of_points(tmp_path, names):
    text = refusal(point_ply(tmp_path / "points3D.ply", names))
    assert f"is a point cloud of 5 points ({', '.join(names)}), not Gaussians; " in text
    assert "train Gaussians on pictures" in text
    assert "splatsweep pack --points" in text


def test_a_ply_of_a_mesh(tmp_path):
    text = refusal(point_ply(tmp_path / "bunny.ply", (*"xyz",), faces=4))
    assert "is a mesh of 5 vertices (element 'face'), not Gaussians; turn meshes into Gaussians with `splats" in text


def test_gaussians_that_lack_a_column_are_no_point_cloud(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(3))
    del columns["opacity"]
    with pytest.raises(GaussianFileError, match="lacks property 'opacity'"):
        read_gaussians(write_ply(tmp_path / "a.ply", columns))


CONTENTS = {
    "pcd": b"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS x y z\nDATA ascii\n0 0 0\n",
    "las": b"LASF" + bytes(20) + b"\x01\x02" + bytes(300),
    "laz": b"LASF" + bytes(20) + b"\x01\x04" + bytes(300),
    "xyz": b"0.1 0.2 0.3\n",
    "npy": b"\x93NUMPY\x01\x00",
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_points_of_other_formats(tmp_path, kind):
    path = tmp_path / f"cloud.{kind}"
    path.write_bytes(CONTENTS[kind])
    assert f"is a point cloud (.{kind}), not Gaussians; points have no size" in refusal(path)


@pytest.mark.parametrize("kind", ["off", "obj", "stl", "glb"])
def test_meshes_of_other_formats(tmp_path, kind):
    assert f"is a mesh (.{kind}), not Gaussians; turn meshes into Gaussians" in refusal(tmp_path / f"chair.{kind}")


@pytest.mark.parametrize("suffix", [".ply", ".splat", ".spz", ".sog"])
@pytest.mark.parametrize(("kind", "words"), [("pcd", "(.pcd)"), ("las", "(.las or .laz)"), ("laz", "(.las or .laz)")])
def test_points_under_the_name_of_gaussians(tmp_path, suffix, kind, words):
    path = tmp_path / f"cloud{suffix}"
    path.write_bytes(CONTENTS[kind] + bytes(-len(CONTENTS[kind]) % 32))
    assert f"looks like a point cloud {words}" in refusal(path)


def test_a_splat_may_start_as_a_las_file_does(tmp_path):
    """Its first centre has x = 13520.3; only the colour tells."""
    record = struct.pack("<6f8B", *struct.unpack("<f", b"LASF"), 2, 3, 0.1, 0.2, 0.3, 1, 9, 9, 200, 255, 128, 128, 0)
    (tmp_path / "a.splat").write_bytes(record)
    assert len(read_gaussians(tmp_path / "a.splat").cloud) == 1


@pytest.mark.parametrize(("name", "words"), [("cloud.pcd", r"point cloud \(\.pcd\)"), ("a.obj", r"mesh \(\.obj\)")])
def test_a_data_set_of_points_or_meshes(tmp_path, name, words):
    for split in ("train", "test"):
        file = tmp_path / "chair" / split / "chair_1" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
    with pytest.raises(LayoutError, match=rf"no object found \(it holds a {words}, not Gaussians; "):
        find_objects(tmp_path, None)
