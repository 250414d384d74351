"""Bad .ply files: each is one PlyError that names the file, what is wrong and what to do."""

import contextlib
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.data.ply import read_gaussian_ply, write_gaussian_ply
from ssl_core.errors import PlyError


def refusal(path) -> str:
    """The one line that the file is refused with; it names the file."""
    with pytest.raises(PlyError) as caught:
        read_gaussian_ply(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_missing_file_and_folder(tmp_path):
    assert "check the path" in refusal(tmp_path / "none.ply")
    refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .ply"),
        (b"plywood", "not a .ply"),
        (b"ply\n", "header never ends"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty flo", "header never ends"),
        (b"ply\nend_header\n", "no format"),
        (b"ply\nformat binary_middle_endian 1.0\nend_header\n", "line 2"),
        (b"ply\nformat ascii 1.0\nelement vertex -3\nend_header\n", "line 3"),
        (b"ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "line 3"),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "line 3"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n1\n", "line 4"),
        (b"ply\nformat ascii 1.0\nend_header\n", "no vertices"),
        (b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "no vertices"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n1 1\n",
            "twice",
        ),
        (
            b"ply\n" + b"comment \xff\n" * 3 + b"format ascii 1.0\nelement v\xe9rtex 1\nend_header\n",
            "no vertices",
        ),
        (b"ply\n" + b"comment long\n" * 100_000, "header never ends"),
    ],
)
def test_no_gaussian_ply(tmp_path, content, says):
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    assert says in refusal(path)


def test_counts_beyond_the_file_are_refused_before_anything_is_reserved(make_cloud, tmp_path):
    path = tmp_path / "huge.ply"
    write_gaussian_ply(path, make_cloud(3))
    path.write_bytes(path.read_bytes().replace(b"element vertex 3", b"element vertex 999999999999"))
    start = time.perf_counter()
    assert "truncated" in refusal(path)
    path.write_bytes(path.read_bytes().replace(b"binary_little_endian", b"ascii"))
    assert "truncated" in refusal(path)
    assert time.perf_counter() - start < 1


def test_missing_properties_are_named_with_the_nearest(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud())
    columns["opacities"] = columns.pop("opacity")
    text = refusal(write_ply(tmp_path / "a.ply", columns))
    assert "lacks property 'opacity'" in text
    assert "did you mean 'opacities'" in text
    points = write_ply(tmp_path / "b.ply", {name: columns[name] for name in "xyz"})
    assert "f_dc_0, f_dc_1, f_dc_2, opacity, scale_0" in refusal(points)


def test_compressed_ply_says_so(write_ply, tmp_path):
    packed = {f"packed_{name}": np.zeros(2, np.uint32) for name in ("position", "rotation", "scale", "color")}
    assert "uncompressed" in refusal(write_ply(tmp_path / "a.ply", packed))


@pytest.mark.parametrize("count", [1, 8, 12, 44, 46, 72])
def test_other_numbers_of_harmonics(make_cloud, columns_of, write_ply, tmp_path, count):
    columns = columns_of(make_cloud(degree=0)) | {f"f_rest_{i}": np.zeros(6, np.float32) for i in range(count)}
    text = refusal(write_ply(tmp_path / "a.ply", columns))
    assert f"{count} f_rest properties; expected 0, 9, 24 or 45" in text


def test_a_gap_in_the_harmonics(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(degree=1))
    columns["f_rest_9"] = columns.pop("f_rest_4")
    assert "lacks property 'f_rest_4'" in refusal(write_ply(tmp_path / "a.ply", columns))


@pytest.mark.parametrize("form", ["little", "ascii"])
def test_not_finite_values_are_counted_by_property(make_cloud, columns_of, write_ply, tmp_path, form):
    cloud = make_cloud(6)
    cloud.log_scales[1:4, 2] = np.nan
    cloud.log_scales[5, 2] = -np.inf
    text = refusal(write_ply(tmp_path / "a.ply", columns_of(cloud), form))
    assert "'scale_2' (3 NaN, 1 infinite)" in text
    assert "first bad one 1" in text


def test_a_double_beyond_float32(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(2)) | {"opacity": np.array([0, 1e300])}
    assert "'opacity' (0 NaN, 1 infinite)" in refusal(write_ply(tmp_path / "a.ply", columns))


def test_ignored_properties_may_hold_anything(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(2)) | {"nx": np.array([np.nan, np.inf], np.float32)}
    assert len(read_gaussian_ply(write_ply(tmp_path / "a.ply", columns))) == 2


def test_zero_quaternions(make_cloud, columns_of, write_ply, tmp_path):
    cloud = make_cloud(6)
    cloud.quaternions[[2, 4]] = 0
    text = refusal(write_ply(tmp_path / "a.ply", columns_of(cloud)))
    assert "zero for 2 of 6 Gaussians (first: 2)" in text


def test_integer_and_list_properties(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(3, 0)) | {"opacity": np.zeros(3, np.uint8)}
    assert "'opacity' is of type uchar" in refusal(write_ply(tmp_path / "a.ply", columns))
    path = write_ply(tmp_path / "b.ply", columns_of(make_cloud(3, 0)))
    path.write_bytes(path.read_bytes().replace(b"property float opacity", b"property list uchar float opacity"))
    assert "'opacity' is of type list" in refusal(path)


@pytest.mark.parametrize("form", ["little", "big", "ascii"])
@pytest.mark.parametrize("degree", [0, 3])
def test_no_cut_is_taken_for_whole(make_cloud, columns_of, write_ply, tmp_path, form, degree):
    path = write_ply(tmp_path / "whole.ply", columns_of(make_cloud(3, degree)), form)
    content = path.read_bytes()
    body = content.index(b"end_header")
    cuts = {*range(0, body, 23), *range(body, len(content), 7), *range(len(content) - 40, len(content))}
    cut = tmp_path / "cut.ply"
    for end in sorted(cuts):
        cut.write_bytes(content[:end])
        refusal(cut)
    # Bytes after the last row are not ours to judge.
    cut.write_bytes(content + b"\n")
    assert len(read_gaussian_ply(cut)) == 3


@settings(max_examples=150, deadline=None)
@given(data=st.data(), form=st.sampled_from(["little", "big", "ascii"]))
def test_damage_is_refused_or_read_never_anything_else(data, form, make_cloud, columns_of, write_ply, scratch):
    path = write_ply(scratch / f"{form}.ply", columns_of(make_cloud(3, 0)), form)
    content = bytearray(path.read_bytes())
    end = data.draw(st.sampled_from([content.index(b"end_header"), len(content)]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, end - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    damaged = scratch / "damaged.ply"
    damaged.write_bytes(bytes(content))
    with contextlib.suppress(PlyError):
        cloud = read_gaussian_ply(damaged)
        assert np.isfinite(cloud.xyz).all()
        assert np.isfinite(cloud.sh_rest).all()
