"""antimatter15's .splat: its records, what it cannot carry, and its refusals."""

import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import GaussianFileError
from ssl_core.files.source import FileSource, ZipSource
from ssl_core.gaussians.formats.splat import decode
from ssl_core.gaussians.gaussian_file import read_gaussians
from tests.reference.plain_splat_formats import plain_splat

GOOD = struct.pack("<6f8B", 1, 2, 3, 0.1, 0.2, 0.3, 255, 0, 128, 200, 255, 128, 128, 0)


def refusal(path) -> str:
    with pytest.raises(GaussianFileError) as caught:
        read_gaussians(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def close(a, b) -> None:
    for name in ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=2e-6, atol=1e-7, err_msg=name)


def test_a_record_by_hand(tmp_path):
    (tmp_path / "a.splat").write_bytes(GOOD)
    found = read_gaussians(tmp_path / "a.splat")
    cloud = found.cloud
    assert (found.format, found.sh_degree, len(cloud)) == ("splat", 0, 1)
    np.testing.assert_array_equal(cloud.xyz, [[1, 2, 3]])
    np.testing.assert_allclose(np.exp(cloud.log_scales), [[0.1, 0.2, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(0.5 + 0.28209479 * cloud.sh_dc, [[1, 0, 128 / 255]], atol=1e-6)
    np.testing.assert_allclose(cloud.alphas(), 200 / 255, rtol=1e-6)
    np.testing.assert_allclose(cloud.quaternions, [[127 / 128, 0, 0, -1]])
    assert any("spherical harmonics" in note for note in found.notes)
    assert any("8 bits" in note for note in found.notes)


finite = st.floats(-1e6, 1e6, width=32)
scale = st.floats(2**-30, 2**20, width=32)
byte = st.integers(0, 255)
record = st.tuples(*[finite] * 3, *[scale] * 3, *[byte] * 8).filter(lambda r: r[10:] != (128,) * 4)


@settings(max_examples=60, deadline=None)
@given(records=st.lists(record, min_size=1, max_size=9))
def test_equal_to_the_plain_reader(records, scratch):
    content = b"".join(struct.pack("<6f8B", *values) for values in records)
    path = scratch / "any.splat"
    path.write_bytes(content)
    found = read_gaussians(path)
    close(found.cloud, plain_splat(content))
    clipped = sum(values[9] in (0, 255) for values in records)
    assert any(f"of {clipped:,} Gaussians" in note for note in found.notes) == (clipped > 0)


def test_many_blocks(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(70_000, 8)).astype("<f4")
    table[:, 3:6] = np.exp(table[:, 3:6])
    table[:, 6:].view(np.uint8)[:] = rng.integers(0, 128, (70_000, 8))
    (tmp_path / "a.splat").write_bytes(table.tobytes())
    cloud = read_gaussians(tmp_path / "a.splat").cloud
    np.testing.assert_array_equal(cloud.xyz, table[:, :3])
    np.testing.assert_allclose(cloud.log_scales, np.log(table[:, 3:6]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: b"", "0 bytes"),
        (lambda c: c[:-1], "31 more than 2 records"),
        (lambda c: c + b"\n", "1 more than 3 records"),
        (lambda c: c[:44] + struct.pack("<f", 0) + c[48:], "first: Gaussian 1, whose 'scale_0' is -inf"),
        (lambda c: c[:76] + struct.pack("<f", -0.5) + c[80:], "first: Gaussian 2, whose 'scale_0' is nan"),
        (lambda c: c[:80] + struct.pack("<f", np.inf) + c[84:], "first: Gaussian 2, whose 'scale_1' is inf"),
        (lambda c: c[:48] + struct.pack("<f", np.nan) + c[52:], "1 of 3 Gaussians have values that cannot be used"),
        (lambda c: c[:36] + struct.pack("<f", np.nan) + c[40:], "'y' (1 NaN)"),
        (lambda c: c[:32] + struct.pack("<f", -np.inf) + c[36:], "first: Gaussian 1, whose 'x' is -inf"),
        (lambda c: c[:60] + b"\x80" * 4 + c[64:], "(1 all zero); first: Gaussian 1, whose quaternion is all zero"),
        (lambda c: b"ply\n" + c[4:], "looks like a .ply"),
        (lambda c: b"\x1f\x8b\x08\x00" + c[4:], "looks like gzip"),
        (lambda c: b"PK\x03\x04" + c[4:], "looks like a zip archive"),
        (lambda c: b"version https://git-lfs.github.com/spec/v1\n" + c[:53], "Git LFS pointer"),
        (lambda c: b"<!DOCTYPE html>" + c[15:], "web page"),
    ],
)
def test_refusals(tmp_path, change, says):
    path = tmp_path / "a.splat"
    path.write_bytes(change(GOOD * 3))
    assert says in refusal(path)


def test_too_many_and_none(tmp_path):
    path = tmp_path / "a.splat"
    path.write_bytes(GOOD * 5)
    with pytest.raises(GaussianFileError, match=r"has 5 Gaussians, more than the 4 allowed"):
        decode(FileSource(path), 4)
    assert "check the path" in refusal(tmp_path / "none.splat")
    refusal(tmp_path)


def test_a_member_of_an_archive_is_checked_to_its_end(tmp_path, same):
    (tmp_path / "a.splat").write_bytes(GOOD * 900)
    archive = tmp_path / "a.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(archive, "w", method) as zipped:
            zipped.write(tmp_path / "a.splat", "in/a.splat")
            info = zipped.getinfo("in/a.splat")
        source = ZipSource(archive, "in/a.splat", info.file_size, info.CRC)
        assert same(read_gaussians(source).cloud, read_gaussians(tmp_path / "a.splat").cloud)
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(tmp_path / "a.splat", "a.splat")
        info = zipped.getinfo("a.splat")
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(bytes(content))
    assert "CRC" in refusal(ZipSource(archive, "a.splat", info.file_size, info.CRC))
