"""Plain point clouds in every format: what was written comes back; what cannot be used is one line with a remedy."""

import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damaged_files import check_refusal, found_damaged
from numpy.lib.format import write_array_header_1_0
from plyfile import PlyData, PlyElement

from ssl_core.clouds.cloud_file import is_point_cloud, read_point_cloud
from ssl_core.clouds.pcd import unlzf
from ssl_core.errors import PointCloudError
from ssl_core.files.source import FileSource

RNG = np.random.default_rng(0)
XYZ = RNG.normal(size=(50, 3)).astype(np.float32)
NORMALS = (XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)).astype(np.float32)
COLOURS = RNG.integers(0, 256, (50, 3)).astype(np.uint8)


def lzf(content: bytes) -> bytes:
    """Literals, and a reference wherever three bytes stood before: a plain compressor for the format."""
    out, literal, at = bytearray(), bytearray(), 0

    def flush() -> None:
        for i in range(0, len(literal), 32):
            out.extend((len(literal[i : i + 32]) - 1, *literal[i : i + 32]))
        literal.clear()

    while at < len(content):
        before = content.rfind(content[at : at + 3], max(0, at - 8192), at + 2) if at + 3 <= len(content) else -1
        if 0 <= before < at:
            length = 3
            while length < 264 and at + length < len(content) and content[before + length] == content[at + length]:
                length += 1
            flush()
            back, code = at - before - 1, length - 2
            out.extend((min(code, 7) << 5 | back >> 8, *([code - 7] if code >= 7 else []), back & 255))
            at += length
        else:
            literal.append(content[at])
            at += 1
    flush()
    return bytes(out)


def pcd(path: Path, kind: str, *, extra: bool = True) -> Path:
    """All columns, with a field of padding in between where `extra`."""
    packed = (COLOURS[:, 0].astype("<u4") << 16) | (COLOURS[:, 1].astype("<u4") << 8) | COLOURS[:, 2]
    columns = {**dict(zip("xyz", XYZ.T, strict=True)), "rgb": packed.view("<f4")}
    columns |= dict(zip(("normal_x", "normal_y", "normal_z"), NORMALS.T, strict=True))
    if extra:
        columns |= {"_": np.zeros((50, 3), "u1"), "intensity": np.arange(50, dtype="<u2")}
    head = {
        "VERSION": ["0.7"],
        "FIELDS": list(columns),
        "SIZE": [values.dtype.itemsize for values in columns.values()],
        "TYPE": [values.dtype.kind.upper() for values in columns.values()],
        "COUNT": [values.shape[1] if values.ndim > 1 else 1 for values in columns.values()],
        "WIDTH": [50], "HEIGHT": [1], "VIEWPOINT": [0, 0, 0, 1, 0, 0, 0], "POINTS": [50], "DATA": [kind],
    }  # fmt: skip
    text = "# .PCD v0.7 - Point Cloud Data file format\n"
    text += "".join(f"{key} {' '.join(map(str, words))}\n" for key, words in head.items())
    tables = [values.reshape(50, -1) for values in columns.values()]
    if kind == "ascii":
        rows = [" ".join(repr(float(value)) for table in tables for value in table[i]) for i in range(50)]
        body = ("\n".join(rows) + "\n").encode()
    elif kind == "binary":
        body = b"".join(table[i].tobytes() for i in range(50) for table in tables)
    else:
        content = b"".join(table.tobytes() for table in tables)
        body = struct.pack("<II", len(lzf(content)), len(content)) + lzf(content)
    path.write_bytes(text.encode() + body)
    return path


def ply(path: Path, *, text: bool = False, normals: np.ndarray | None = NORMALS, colours: bool = True) -> Path:
    table = dict(zip("xyz", XYZ.T, strict=True))
    table |= {} if normals is None else dict(zip(("nx", "ny", "nz"), normals.T, strict=True))
    table |= dict(zip(("red", "green", "blue"), COLOURS.T, strict=True)) if colours else {}
    rows = np.empty(50, [(name, values.dtype.str) for name, values in table.items()])
    for name, values in table.items():
        rows[name] = values
    PlyData([PlyElement.describe(rows, "vertex")], text=text).write(str(path))
    return path


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("extra", [True, False])
def test_pcd(tmp_path: Path, kind: str, extra: bool) -> None:
    found = read_point_cloud(pcd(tmp_path / "a.PCD", kind, extra=extra))
    np.testing.assert_array_equal(found.xyz, XYZ)
    np.testing.assert_allclose(found.normals, NORMALS, atol=1e-6)
    np.testing.assert_allclose(found.colours, COLOURS / 255, atol=1e-6)
    assert found.groups == ("xyz", "sh_dc", "normals")


@pytest.mark.parametrize("text", [True, False])
def test_ply_of_points(tmp_path: Path, text: bool) -> None:
    path = ply(tmp_path / "a.ply", text=text)
    assert is_point_cloud(FileSource(path))
    found = read_point_cloud(path)
    np.testing.assert_allclose(found.xyz, XYZ, rtol=1e-6)
    np.testing.assert_allclose(found.normals, NORMALS, atol=1e-5)
    np.testing.assert_allclose(found.colours, COLOURS / 255, atol=1e-6)


def test_normals_of_zeros_count_as_none(tmp_path: Path) -> None:
    """3DGS trainers write them into the points they start from."""
    found = read_point_cloud(ply(tmp_path / "input.ply", normals=np.zeros_like(NORMALS)))
    assert found.groups == ("xyz", "sh_dc")
    assert found.notes == ("all normals are zero, so they count as not given",)


def test_gaussians_and_meshes_are_no_point_clouds(tmp_path: Path, make_cloud) -> None:
    from ssl_core.gaussians.ply import write_gaussian_ply

    write_gaussian_ply(tmp_path / "a.ply", make_cloud(5))
    assert not is_point_cloud(FileSource(tmp_path / "a.ply"))
    assert not is_point_cloud(FileSource(tmp_path / "a.splat"))
    with pytest.raises(PointCloudError, match=r"a\.ply: is no \.ply of plain points"):
        read_point_cloud(tmp_path / "a.ply")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4"])
def test_npy(tmp_path: Path, order: str, kind: str) -> None:
    np.save(tmp_path / "a.npy", np.asarray(np.hstack([XYZ, NORMALS]), kind, order=order))
    found = read_point_cloud(tmp_path / "a.npy")
    np.testing.assert_array_equal(found.xyz, XYZ)
    np.testing.assert_allclose(found.normals, NORMALS, atol=1e-6)
    np.save(tmp_path / "a.npy", XYZ)
    assert read_point_cloud(tmp_path / "a.npy").groups == ("xyz",)


@pytest.mark.parametrize(
    ("ending", "separator", "head"), [("txt", ",", ""), ("xyz", " ", "# a scan\n"), ("pts", " ", "50\n")]
)
def test_text(tmp_path: Path, ending: str, separator: str, head: str) -> None:
    rows = [separator.join(f"{value:.6f}" for value in row) for row in np.hstack([XYZ, NORMALS])]
    path = tmp_path / f"airplane_0001.{ending}"
    path.write_text(head + "\n".join(rows) + "\n")
    found = read_point_cloud(path)
    np.testing.assert_allclose(found.xyz, XYZ, atol=1e-6)
    np.testing.assert_allclose(found.normals, NORMALS, atol=1e-5)


@pytest.mark.parametrize("values", [XYZ[:1], np.tile(XYZ[:1], (50, 1)), np.zeros((0, 3), "f4")])
def test_a_cloud_without_extent_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(
        PointCloudError, match=rf"^{tmp_path}/a\.npy: .*(at least 2|all lie at one place|expected 1 to)"
    ):
        read_point_cloud(tmp_path / "a.npy")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e12])
def test_points_that_cannot_be_used(tmp_path: Path, bad: float) -> None:
    values = XYZ.astype(np.float64)
    values[7, 1] = bad
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(PointCloudError, match=r"1 of 50 points cannot be used .*point 7 .*--drop-bad-rows"):
        read_point_cloud(tmp_path / "a.npy")
    found = read_point_cloud(tmp_path / "a.npy", drop_bad_rows=True)
    np.testing.assert_array_equal(found.xyz, np.delete(XYZ, 7, axis=0))
    assert found.dropped.tolist() == [7]


@pytest.mark.parametrize("width", [2, 4, 7])
def test_other_columns_are_not_guessed_at(tmp_path: Path, width: int) -> None:
    np.save(tmp_path / "a.npy", np.ones((9, width)))
    with pytest.raises(PointCloudError, match=rf"has {width} columns; expected 3 .* or 6"):
        read_point_cloud(tmp_path / "a.npy")


def test_colours_are_not_taken_for_normals(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.txt", np.hstack([XYZ, COLOURS]))
    with pytest.raises(PointCloudError, match="no unit vectors"):
        read_point_cloud(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pcd", b"FIELDS x y z\nDATA ascii\n", "lacks SIZE"),
        ("a.pcd", b"FIELDS x y\nSIZE 4 4\nTYPE F F\nPOINTS 9\nDATA ascii\n" + b"1 2\n" * 9, "no column 'z'"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9\nDATA binary\n123", "is truncated"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9\nDATA ascii\n1 2 3\n", "promises 9 of 3"),
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 9999999999\nDATA binary\n", "POINTS is 9,999,999,999"),
        ("a.pcd", b"FIELDS x\nSIZE 4\nTYPE F\nPOINTS 2\nDATA binary_compressed\n\x01\0\0\0\x08\0\0\0\x20", "damaged"),
        ("a.npy", b"\x93NUMPY\x01\0garbage", "is no .npy file"),
        ("a.txt", b"", "holds no points"),
        ("a.txt", b"1 2 3\n1 2\n", "a line is damaged"),
        ("a.pts", b"3\n1 2 3\n", "promises 3 points and holds 1"),
        ("a.las", b"LASF", "is no known file of points"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    check_refusal(tmp_path / name, content, read_point_cloud, PointCloudError, words)


def test_an_npy_is_not_believed(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as stream:
        write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)})
        stream.write(XYZ.tobytes())
    with pytest.raises(PointCloudError, match=r"holds 600 bytes where \[1000000000000, 3\] take"):
        read_point_cloud(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"a" * 1000, b"abcabcabcabcabd" * 40, RNG.bytes(500), bytes(70_000)])
def test_unlzf_undoes_a_plain_compressor(content: bytes) -> None:
    assert unlzf(lzf(content), len(content)) == content


def test_what_is_drawn_of_points_faces_their_normals(tmp_path: Path) -> None:
    """The shortest axis of each disc is the normal or its opposite, whatever the columns of a pack are read for."""
    from ssl_core.contracts import PointsContract
    from ssl_core.data.pack_arrays import rows_of
    from ssl_core.data.point_columns import assemble

    cloud = read_point_cloud(ply(tmp_path / "a.ply")).as_gaussians()
    contract = PointsContract(features=("normals",), num_points=50)
    normals = assemble(rows_of(cloud)[None], contract)[0]
    np.testing.assert_allclose(np.abs((normals * NORMALS).sum(axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(0.5 + 0.28209479177387814 * cloud.sh_dc, COLOURS / 255, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["ascii.pcd", "binary.pcd", "binary_compressed.pcd", "a.ply", "text.ply", "a.npy", "a.txt"]
)
def test_damage_is_refused_in_one_line_or_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("pcd"):
        pcd(path, name.removesuffix(".pcd"))
    elif name.endswith("ply"):
        ply(path, text=name == "text.ply")
    elif name.endswith("npy"):
        np.save(path, XYZ)
    else:
        np.savetxt(path, XYZ, delimiter=",")
    found = found_damaged(path, partial(read_point_cloud, limit=10_000), PointCloudError, seed=1)
    assert all(np.isfinite(cloud.xyz).all() for cloud in found)
