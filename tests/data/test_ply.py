"""Gaussian .ply files that must be read, and what we write."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssl_core.data.gaussians import SH_REST, GaussianCloud
from ssl_core.data.inspect import inspect_ply
from ssl_core.data.ply import INRIA_PROPERTIES, read_gaussian_ply, write_gaussian_ply
from ssl_core.errors import PlyError, StorageError

FORMS = ("little", "big", "ascii")


@st.composite
def clouds(draw):
    """Clouds of any finite float32 values, subnormals and extremes included."""
    n, degree = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)
    table = draw(arrays(np.float32, (n, 14 + 3 * SH_REST[degree]), elements=values))
    quaternions = table[:, 7:11].copy()
    quaternions[~quaternions.any(axis=1), 0] = 1
    rest = table[:, 14:].reshape(n, SH_REST[degree], 3)
    return GaussianCloud(table[:, :3], table[:, 3], table[:, 4:7], quaternions, table[:, 11:14], rest)


@settings(max_examples=60, deadline=None)
@given(cloud=clouds())
def test_what_we_write_is_read_back_to_the_last_bit(cloud, scratch, same):
    path = scratch / "cloud.ply"
    write_gaussian_ply(path, cloud)
    assert same(read_gaussian_ply(path), cloud.padded(3))


@settings(max_examples=40, deadline=None)
@given(
    cloud=clouds(),
    form=st.sampled_from(FORMS),
    order=st.randoms(use_true_random=False),
    extras=st.integers(0, 3),
)
def test_any_order_format_and_extras(cloud, form, order, extras, scratch, write_ply, columns_of, same):
    columns = columns_of(cloud)
    columns |= {f"extra_{i}": np.full(len(cloud), i, np.int32 if i % 2 else np.float64) for i in range(extras)}
    names = list(columns)
    order.shuffle(names)
    path = write_ply(scratch / "any.ply", {name: columns[name] for name in names}, form)
    assert same(read_gaussian_ply(path), cloud)


@pytest.mark.parametrize("degree", range(4))
def test_every_degree_in_every_format(make_cloud, columns_of, write_ply, same, tmp_path, degree):
    cloud = make_cloud(7, degree)
    for form in FORMS:
        assert same(read_gaussian_ply(write_ply(tmp_path / f"{form}.ply", columns_of(cloud), form)), cloud)


def test_doubles_and_other_elements(make_cloud, columns_of, same, tmp_path):
    from plyfile import PlyData, PlyElement

    cloud = make_cloud(5)
    columns = columns_of(cloud)
    rows = np.empty(5, dtype=[(name, "f8") for name in columns])
    for name, column in columns.items():
        rows[name] = column
    before = PlyElement.describe(np.zeros(4, dtype=[("gain", "f4")]), "camera")
    faces = np.array([([0, 1, 2],), ([2, 3, 4],)], dtype=[("vertex_indices", "i4", (3,))])
    after = PlyElement.describe(faces, "face")
    path = tmp_path / "doubles.ply"
    PlyData([before, PlyElement.describe(rows, "vertex"), after], byte_order=">").write(str(path))
    assert same(read_gaussian_ply(path), cloud)


def test_windows_line_ends_in_ascii(make_cloud, columns_of, write_ply, same, tmp_path):
    cloud = make_cloud(3, 0)
    path = write_ply(tmp_path / "a.ply", columns_of(cloud), "ascii")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert same(read_gaussian_ply(path), cloud)


def test_the_bytes_are_inrias(make_cloud, tmp_path):
    """Read with nothing but struct: 62 little-endian floats a row, f_rest channel by channel."""
    cloud = make_cloud(4, 1)
    path = tmp_path / "deep" / "folder" / "cloud.ply"
    write_gaussian_ply(path, cloud)
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 4"]
    rest = [f"f_rest_{i}" for i in range(45)]
    expected = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest]
    expected += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert lines[3:] == [f"property float {name}" for name in expected]
    assert list(INRIA_PROPERTIES) == expected
    assert len(expected) == 62
    assert len(body) == 4 * 62 * 4
    row = struct.unpack_from("<62f", body, 2 * 62 * 4)
    np.testing.assert_array_equal(row[:3], cloud.xyz[2])
    assert row[3:6] == (0, 0, 0)
    np.testing.assert_array_equal(row[6:9], cloud.sh_dc[2])
    for channel in range(3):
        start = 9 + 15 * channel
        np.testing.assert_array_equal(row[start : start + 3], cloud.sh_rest[2, :, channel])
        assert not any(row[start + 3 : start + 15])
    assert row[54] == cloud.opacity_logits[2]
    np.testing.assert_array_equal(row[55:58], cloud.log_scales[2])
    np.testing.assert_array_equal(row[58:], cloud.quaternions[2])


def test_writing_refuses_what_reading_would(make_cloud, tmp_path):
    path = tmp_path / "cloud.ply"
    with pytest.raises(PlyError, match="no Gaussians"):
        write_gaussian_ply(path, make_cloud(0))
    cloud = make_cloud(4)
    cloud.sh_dc[1, 2] = np.nan
    with pytest.raises(PlyError, match="f_dc_2"):
        write_gaussian_ply(path, cloud)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(make_cloud, tmp_path, monkeypatch, same):
    path = tmp_path / "cloud.ply"
    write_gaussian_ply(path, make_cloud(4))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plyfile.PlyData.write", full)
    with pytest.raises(StorageError, match="No space left"):
        write_gaussian_ply(path, make_cloud(9))
    assert same(read_gaussian_ply(path), make_cloud(4))
    assert [entry.name for entry in tmp_path.iterdir()] == ["cloud.ply"]


def test_real_files_are_read_and_written_back(shared_data, tmp_path, same):
    """What the files' sources say about them: counts and degrees."""
    expected = {
        "leica-sofort-top8192.ply": (8192, 3),
        "point_cloud.ply": (9080, 3),
        "koala.ply": (54804, 0),
        "splatapult_test_16.ply": (16, 3),
        "test-splat.3-points-from-train.ply": (3, 3),
    }
    files = sorted((shared_data / "gaussians").rglob("*.ply"))
    assert {file.name for file in files} >= expected.keys()
    for file in files:
        cloud = read_gaussian_ply(file)
        if file.name in expected:
            assert (len(cloud), cloud.sh_degree) == expected[file.name]
        found = inspect_ply(file)
        assert found["gaussians"] == len(cloud)
        json.dumps(found, allow_nan=False)
        write_gaussian_ply(tmp_path / "copy.ply", cloud)
        assert same(read_gaussian_ply(tmp_path / "copy.ply"), cloud.padded(3))
