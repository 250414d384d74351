"""Gaussian .ply files that must be read, and what we write."""

import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plyfile import PlyData, PlyElement

from ssl_core.errors import PlyError, StorageError
from ssl_core.files.source import ZipSource
from ssl_core.gaussians.formats.gaussian_properties import INRIA_PROPERTIES, NEEDED
from ssl_core.gaussians.gaussian_cloud import SH_REST, GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.gaussians.usable_rows import LOG_SCALES, MAX_VALUE
from ssl_core.inspect.gaussian_facts import inspect_gaussians
from tests.reference.gaussian_ply import read_gaussian_ply
from tests.reference.plain_splat_formats import plain_ply

FORMS = ("little", "big", "ascii")
TYPES = {
    "i1": "char",
    "u1": "uchar",
    "i2": "short",
    "u2": "ushort",
    "i4": "int",
    "u4": "uint",
    "f4": "float",
    "f8": "double",
}


@st.composite
def clouds(draw):
    """Clouds of any float32 values within the bounds, subnormals and extremes included."""
    n, degree = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    values = st.floats(-MAX_VALUE, MAX_VALUE, width=32)
    table = draw(arrays(np.float32, (n, 14 + 3 * SH_REST[degree]), elements=values))
    log_scales = table[:, 4:7].clip(*LOG_SCALES)
    quaternions = table[:, 7:11].copy()
    quaternions[~quaternions.any(axis=1), 0] = 1
    rest = table[:, 14:].reshape(n, SH_REST[degree], 3)
    return GaussianCloud(table[:, :3], table[:, 3], log_scales, quaternions, table[:, 11:14], rest)


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


def ply_bytes(elements, form: str) -> bytes:
    """A .ply of elements (name, structured rows); columns of objects become lists of ints with a short length.

    plyfile writes big-endian rows with lists in the machine's own order, so this is written out.
    """
    order = ">" if form == "big" else "<"
    header = ["ply", "format " + ("ascii 1.0" if form == "ascii" else f"binary_{form}_endian 1.0")]
    body = b""
    for name, rows in elements:
        header.append(f"element {name} {len(rows)}")
        for key in rows.dtype.names:
            kind = rows.dtype[key]
            header.append(f"property {'list ushort int' if kind.hasobject else TYPES[kind.str[1:]]} {key}")
        for row in rows:
            cells = [np.atleast_1d(value) for value in row]
            if form == "ascii":
                words = []
                for cell, kind in zip(cells, kinds(rows), strict=True):
                    words += [len(cell), *cell.tolist()] if kind == "list" else cell.tolist()
                body += (" ".join(map(repr, words)) + "\n").encode()
                continue
            for cell, kind in zip(cells, kinds(rows), strict=True):
                if kind == "list":
                    body += np.array(len(cell), order + "u2").tobytes()
                body += cell.astype(cell.dtype.newbyteorder(order)).tobytes()
    return "\n".join([*header, "end_header\n"]).encode() + body


def kinds(rows) -> list[str]:
    return ["list" if rows.dtype[key].hasobject else "scalar" for key in rows.dtype.names]


def random_rows(rng, fields, count):
    """Structured rows; a field of type "list" holds up to four ints."""
    rows = np.empty(count, dtype=[(name, "O" if kind == "list" else kind) for name, kind in fields])
    for name, kind in fields:
        if kind == "list":
            for i in range(count):
                rows[name][i] = rng.integers(0, 100, rng.integers(0, 5), dtype=np.int32)
        else:
            rows[name] = rng.normal(size=count) if kind[0] == "f" else rng.integers(0, 100, count)
    return rows


@pytest.mark.filterwarnings("ignore:loadtxt")  # plyfile, on an empty list in text
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    form=st.sampled_from(FORMS),
    degree=st.integers(0, 4),
    strangers=st.lists(st.sampled_from([*TYPES, "list"]), max_size=3),
    before=st.lists(st.sampled_from([*TYPES, "list"]), max_size=2),
)
def test_equal_to_the_plain_reader(seed, form, degree, strangers, before, scratch, same):
    """Shuffled floats and doubles with strangers and lists among them, elements before and behind."""
    rng = np.random.default_rng(seed)
    names = [*NEEDED, *(f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1)))]
    fields = [(name, rng.choice(["f4", "f8"], p=[0.9, 0.1])) for name in names]
    fields += [(f"extra_{i}", kind) for i, kind in enumerate(strangers)]
    fields = [fields[i] for i in rng.permutation(len(fields))]
    elements = [(f"before_{i}", random_rows(rng, [("a", kind), ("b", "u1")], 3)) for i, kind in enumerate(before)]
    elements.append(("vertex", random_rows(rng, fields, int(rng.integers(1, 7)))))
    elements.append(("behind", random_rows(rng, [("a", "list"), ("b", "f8")], 2)))
    path = scratch / "dialect.ply"
    path.write_bytes(ply_bytes(elements, form))
    found = read_gaussians(path)
    assert same(found.cloud, plain_ply(path))
    assert (found.format, found.sh_degree, found.cloud.sh_degree) == ("ply", degree, min(degree, 3))
    cut = ("spherical harmonics of degree 4 were cut to degree 3",) if degree == 4 else ()
    assert found.notes[: len(cut)] == cut
    assert len(found.notes) == len(cut) + (len(strangers) > 0)


def test_degree_four_keeps_the_first_fifteen_of_each_channel(make_cloud, columns_of, write_ply, tmp_path):
    cloud = make_cloud(3, 0)
    columns = columns_of(cloud) | {f"f_rest_{i}": np.full(3, i, np.float32) for i in range(72)}
    found = read_gaussians(write_ply(tmp_path / "a.ply", columns))
    for channel in range(3):
        np.testing.assert_array_equal(found.cloud.sh_rest[1, :, channel], 24 * channel + np.arange(15))


@pytest.mark.parametrize("extra", [None, "u1"])
@pytest.mark.parametrize("form", ["little", "big"])
def test_many_blocks_with_and_without_alignment(make_cloud, columns_of, write_ply, same, tmp_path, form, extra):
    cloud = make_cloud(9001, 3)
    columns = columns_of(cloud)
    if extra:
        columns = {"extra": np.zeros(9001, extra)} | columns
    assert same(read_gaussian_ply(write_ply(tmp_path / "a.ply", columns, form)), cloud)


def test_many_lines(make_cloud, columns_of, write_ply, same, tmp_path):
    cloud = make_cloud(5001, 0)
    assert same(read_gaussian_ply(write_ply(tmp_path / "a.ply", columns_of(cloud), "ascii")), cloud)


def test_many_rows_with_lists(make_cloud, columns_of, same, tmp_path):
    cloud = make_cloud(5001, 1)
    columns = columns_of(cloud)
    rows = np.empty(5001, dtype=[("near", "O"), *((name, "f4") for name in columns)])
    for name, column in columns.items():
        rows[name] = column
    rows["near"] = [np.arange(i % 3, dtype="i4") for i in range(5001)]
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(tmp_path / "a.ply"))
    assert same(read_gaussian_ply(tmp_path / "a.ply"), cloud)


def test_a_header_longer_than_one_read(make_cloud, columns_of, write_ply, same, tmp_path):
    """The line that ends the header may lie across two reads."""
    cloud = make_cloud(3, 0)
    path = write_ply(tmp_path / "a.ply", columns_of(cloud))
    content = path.read_bytes()
    for length in (*range(7600, 7700), 30_000):
        path.write_bytes(content.replace(b"ply\n", b"ply\ncomment " + b"x" * length + b"\n", 1))
        assert same(read_gaussian_ply(path), cloud)


def test_a_member_of_an_archive(make_cloud, same, tmp_path):
    cloud = make_cloud(5000)
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    archive = tmp_path / "a.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(archive, "w", method) as zipped:
            zipped.write(tmp_path / "a.ply", "deep/a.ply")
            info = zipped.getinfo("deep/a.ply")
        assert same(read_gaussian_ply(ZipSource(archive, "deep/a.ply", info.file_size, info.CRC)), cloud)


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b" \t\n"])
def test_line_ends_of_other_systems(make_cloud, columns_of, write_ply, same, tmp_path, end):
    cloud = make_cloud(3, 0)
    path = write_ply(tmp_path / "a.ply", columns_of(cloud), "ascii")
    path.write_bytes(path.read_bytes().replace(b"\n", end))
    assert same(read_gaussian_ply(path), cloud)
    header, mark, body = write_ply(path, columns_of(cloud)).read_bytes().partition(b"end_header\n")
    path.write_bytes((header + mark).replace(b"\n", end) + body)
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
        found = inspect_gaussians(file)
        assert found["gaussians"] == len(cloud)
        json.dumps(found, allow_nan=False)
        write_gaussian_ply(tmp_path / "copy.ply", cloud)
        assert same(read_gaussian_ply(tmp_path / "copy.ply"), cloud.padded(3))
