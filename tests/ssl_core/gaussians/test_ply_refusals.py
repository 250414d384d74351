"""Bad .ply files: each is one PlyError that names the file, what is wrong and what to do."""

import contextlib
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import PlyError
from ssl_core.files.source import FileSource, ZipSource
from ssl_core.gaussians.formats.gaussian_properties import NEEDED
from ssl_core.gaussians.ply import decode, write_gaussian_ply
from tests.reference.gaussian_ply import read_gaussian_ply


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
    (tmp_path / "folder.ply").mkdir()
    refusal(tmp_path / "folder.ply")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .ply"),
        (b"plywood", "not a .ply"),
        (b"\x1f\x8b\x08\x00" + bytes(60), "it looks like gzip data"),
        (b"PK\x03\x04" + bytes(60), "it looks like a zip archive"),
        (b"NGSP" + bytes(60), "it looks like a .spz"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer: run git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "it looks like a web page"),
        (b"ply\nformat ascii 1.0\nformat ascii 1.0\nend_header\n", "line 3"),
        (b"ply\nelement vertex 1\nformat ascii 1.0\nend_header\n", "line 3"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list float int x\nend_header\n1\n", "line 4"),
        (
            b"ply\nformat ascii 1.0\n" + b"element vertex 1\nproperty char x\n" * 2 + b"end_header\n1 1\n",
            "element 'vertex' twice",
        ),
        (b"ply\nformat ascii 1.0\n" + b"element a 0\nelement b 0\n" * 40_000 + b"end_header\n", "twice"),
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


@pytest.mark.parametrize("form", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("lists", [False, True])
def test_counts_beyond_the_file_are_refused_before_anything_is_reserved(tmp_path, form, lists):
    """Four billion and more vertices in a kilobyte, in every way of reading rows."""
    path = tmp_path / "huge.ply"
    properties = "".join(f"property float {name}\n" for name in NEEDED) + "property list uchar int near\n" * lists
    for count in (40, 4_000_000_000, 999_999_999_999_999_999):
        path.write_text(f"ply\nformat {form} 1.0\nelement vertex {count}\n{properties}end_header\n" + "1 " * 400)
        tracemalloc.start()
        text = refusal(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "truncated" in text
        assert peak < 2_000_000


def test_rows_without_properties_cost_nothing(make_cloud, tmp_path):
    """An element may have no properties and then any number of rows in no bytes at all."""
    path = tmp_path / "a.ply"
    write_gaussian_ply(path, make_cloud(3))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"element vertex", b"element void 999999999999999999\nelement vertex"))
    assert len(read_gaussian_ply(path)) == 3
    path.write_bytes(
        content.replace(
            b"element vertex",
            b"element void 999999999999999999\nelement face 0\nproperty list uchar int i\nelement vertex",
        )
    )
    assert len(read_gaussian_ply(path)) == 3


def test_more_than_the_limit_is_refused(make_cloud, tmp_path):
    path = tmp_path / "a.ply"
    write_gaussian_ply(path, make_cloud(5))
    with pytest.raises(PlyError, match="has 5 Gaussians, more than the 4 allowed"):
        decode(FileSource(path), 4)
    assert len(decode(FileSource(path), 5).cloud) == 5


def test_members_of_damaged_archives(make_cloud, tmp_path):
    write_gaussian_ply(tmp_path / "a.ply", make_cloud(500))
    archive = tmp_path / "a.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(archive, "w", method) as zipped:
            zipped.write(tmp_path / "a.ply", "a.ply")
            info = zipped.getinfo("a.ply")
        content = archive.read_bytes()
        source = ZipSource(archive, "a.ply", info.file_size, info.CRC)
        # Behind the header too, where only the checksum can tell.
        for at in (100, 2500, len(content) - 200):
            archive.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
            with pytest.raises(PlyError, match=r"a\.zip/a\.ply"):
                decode(source, 1000)
    with pytest.raises(PlyError, match="unpack the archive first"):
        decode(ZipSource(archive, "a.ply", 2**31, 0), 1000)


def test_missing_properties_are_named_with_the_nearest(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud())
    columns["opacities"] = columns.pop("opacity")
    text = refusal(write_ply(tmp_path / "a.ply", columns))
    assert "lacks property 'opacity'" in text
    assert "did you mean 'opacities'" in text
    points = write_ply(tmp_path / "b.ply", {name: columns[name] for name in (*"xyz", "rot_3")})
    assert "f_dc_0, f_dc_1, f_dc_2, opacity, scale_0" in refusal(points)


@pytest.mark.parametrize("count", [1, 8, 12, 44, 46, 73, 105])
def test_other_numbers_of_harmonics(make_cloud, columns_of, write_ply, tmp_path, count):
    columns = columns_of(make_cloud(degree=0)) | {f"f_rest_{i}": np.zeros(6, np.float32) for i in range(count)}
    text = refusal(write_ply(tmp_path / "a.ply", columns))
    assert f"{count} f_rest properties; expected 0, 9, 24, 45 or 72" in text


def test_a_gap_in_the_harmonics(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(degree=1))
    columns["f_rest_9"] = columns.pop("f_rest_4")
    assert "lacks property 'f_rest_4'" in refusal(write_ply(tmp_path / "a.ply", columns))
    columns["f_rest_04"] = columns.pop("f_rest_9")
    assert "lacks property 'f_rest_4'" in refusal(write_ply(tmp_path / "a.ply", columns))


def test_a_harmonic_twice(make_cloud, columns_of, write_ply, tmp_path):
    path = write_ply(tmp_path / "a.ply", columns_of(make_cloud(degree=1)))
    path.write_bytes(path.read_bytes().replace(b"float f_rest_5\n", b"float f_rest_4\n"))
    assert "property 'f_rest_4' twice" in refusal(path)


def test_not_finite_harmonics_have_the_names_of_the_file(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(4, 0)) | {f"f_rest_{i}": np.zeros(4, np.float32) for i in range(72)}
    columns["f_rest_26"][3] = np.nan
    columns["f_rest_47"][1] = np.nan  # degree 4, which is not read
    assert "cannot be used: 'f_rest_26' (1 NaN); first: Gaussian 3, whose 'f_rest_26' is nan" in refusal(
        write_ply(tmp_path / "a.ply", columns)
    )


@pytest.mark.parametrize("form", ["little", "ascii"])
def test_not_finite_values_are_counted_by_property(make_cloud, columns_of, write_ply, tmp_path, form):
    cloud = make_cloud(6)
    cloud.log_scales[1:4, 2] = np.nan
    cloud.log_scales[5, 2] = -np.inf
    text = refusal(write_ply(tmp_path / "a.ply", columns_of(cloud), form))
    assert "'scale_2' (3 NaN, 1 infinite)" in text
    assert "4 of 6 Gaussians" in text
    assert "first: Gaussian 1, whose" in text


def test_a_double_beyond_float32(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(2)) | {"f_dc_1": np.array([0, 1e300])}
    assert "'f_dc_1' (1 infinite)" in refusal(write_ply(tmp_path / "a.ply", columns))


def test_ignored_properties_may_hold_anything(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(2)) | {"nx": np.array([np.nan, np.inf], np.float32)}
    assert len(read_gaussian_ply(write_ply(tmp_path / "a.ply", columns))) == 2


def test_zero_quaternions(make_cloud, columns_of, write_ply, tmp_path):
    cloud = make_cloud(6)
    cloud.quaternions[[2, 4]] = 0
    text = refusal(write_ply(tmp_path / "a.ply", columns_of(cloud)))
    assert "2 of 6 Gaussians" in text
    assert "'rot_0' to 'rot_3' (2 all zero); first: Gaussian 2, whose quaternion is all zero" in text


@pytest.mark.parametrize(("form", "other"), [("little", b"big"), ("big", b"little")])
@pytest.mark.parametrize("degree", [0, 3])
def test_the_wrong_byte_order(make_cloud, columns_of, write_ply, tmp_path, form, other, degree):
    for count in (1, 2, 500):
        path = write_ply(tmp_path / "a.ply", columns_of(make_cloud(count, degree)), form)
        path.write_bytes(path.read_bytes().replace(form.encode() + b"_endian", other + b"_endian"))
        assert "with their bytes swapped" in refusal(path)


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
    # A line end more is no row more.
    cut.write_bytes(content + b"\n")
    assert len(read_gaussian_ply(cut)) == 3


@pytest.mark.parametrize("form", ["little", "big", "ascii"])
def test_a_count_below_the_rows_loses_none_in_silence(make_cloud, columns_of, write_ply, tmp_path, form):
    path = write_ply(tmp_path / "short.ply", columns_of(make_cloud(3, 0)), form)
    path.write_bytes(path.read_bytes().replace(b"element vertex 3", b"element vertex 2"))
    assert "count is wrong" in refusal(path)


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
