"""One call for every format: told by ending and first bytes, and the same Gaussians in each."""

import gzip
import os
import struct
import zipfile

import numpy as np
import pytest

from ssl_core.errors import GaussianFileError, PlyError
from ssl_core.files.source import FileSource
from ssl_core.gaussians.gaussian_cloud import SUFFIXES
from ssl_core.gaussians.gaussian_file import gaussian_format, read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply

KINDS = {
    "a.ply": "ply",
    "A.PLY": "ply",
    "b.compressed.ply": "ply",
    "model (1).splat": "splat",
    "c.spz": "spz",
    "d.SOG": "sog",
    "e.ksplat": "ksplat",
    "meta.json": "sog",
}


def refusal(path) -> str:
    with pytest.raises(GaussianFileError) as caught:
        read_gaussians(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_the_ending_names_the_format(tmp_path):
    for name, kind in KINDS.items():
        assert gaussian_format(FileSource(tmp_path / name)) == kind
    for name in ("a.blend", "ply", "a.ply.gz", ".ply.", "a"):
        text = refusal(tmp_path / name)
        assert all(suffix in text for suffix in SUFFIXES)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_empty_and_no_file_at_all(tmp_path, suffix):
    assert "check the path" in refusal(tmp_path / f"none{suffix}")
    (tmp_path / f"empty{suffix}").touch()
    refusal(tmp_path / f"empty{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    refusal(tmp_path / f"folder{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    refusal(tmp_path / f"pipe{suffix}")


def disguises(tmp_path, cloud):
    """Content by what it is, and the word that names it."""
    ply = tmp_path / "real.ply"
    write_gaussian_ply(ply, cloud)
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as zipped:
        zipped.write(ply, "meta.json")
    return {
        "a .ply": ply.read_bytes(),
        "a .ksplat": b"\0\1\0\0" + struct.pack("<4I", 1, 1, 9, 9) + bytes(76),
        "gzip data": gzip.compress(ply.read_bytes()),
        "a zip archive": (tmp_path / "real.zip").read_bytes(),
        "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(88),
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n" + bytes(28),
        "a web page": b"<!DOCTYPE html><html><title>404</title></html>" + bytes(50),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_ending_is_refused_with_what_it_looks_like(make_cloud, tmp_path, suffix):
    own = {".ply": "a .ply", ".ksplat": "a .ksplat", ".spz": "gzip data", ".sog": "a zip archive"}.get(suffix)
    for words, content in disguises(tmp_path, make_cloud(3)).items():
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        if words != own:
            assert f"looks like {words}" in refusal(path)


def test_names_that_are_no_text(make_cloud, same, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9 \xff[1].ply")
    write_gaussian_ply(path, make_cloud(3))
    assert same(read_gaussians(path).cloud, make_cloud(3))
    path.write_bytes(b"plywood")
    assert "not a .ply" in refusal(path)


def test_ply_and_splat_of_the_same_asset_agree(shared_data):
    """Three Gaussians of a trained scene: centres and scales to the last bits, the rest to half a byte."""
    folder = shared_data / "gaussians" / "tiny"
    ply, splat = (read_gaussians(folder / f"test-splat.3-points-from-train.{end}").cloud for end in ("ply", "splat"))
    np.testing.assert_array_equal(splat.xyz, ply.xyz)
    np.testing.assert_allclose(splat.log_scales, ply.log_scales, rtol=1e-5)
    assert np.abs(splat.alphas() - ply.alphas()).max() <= 1 / 255
    assert np.abs(splat.sh_dc - ply.sh_dc).max() * 0.28209479 <= 1 / 255
    unit = ply.quaternions / np.linalg.norm(ply.quaternions, axis=1, keepdims=True)
    assert np.abs(splat.quaternions - unit).max() <= 1.01 / 128


def test_every_real_file_is_accepted(shared_data):
    """What their sources say of them; all of these are whole."""
    expected = {
        "leica-sofort-top8192.ply": (8192, "ply", 3),
        "point_cloud.ply": (9080, "ply", 3),
        "koala.ply": (54804, "ply", 0),
        "splatapult_test_16.ply": (16, "ply", 3),
        "test-splat.3-points-from-train.ply": (3, "ply", 3),
        "test-splat.3-points-from-train.splat": (3, "splat", 0),
        "model (1).splat": (22764, "splat", 0),
        "chair_gaussian.splat": (89945, "splat", 0),
    }
    files = [file for file in (shared_data / "gaussians").rglob("*") if file.suffix in (".ply", ".splat")]
    found = {file.name: read_gaussians(file) for file in files}
    facts = {name: (len(file.cloud), file.format, file.sh_degree) for name, file in found.items()}
    assert facts == {**facts, **expected}
    assert not found["koala.ply"].notes
    assert any("1,388" in note for note in found["chair_gaussian.splat"].notes)
    with pytest.raises(PlyError, match="54,804 Gaussians, more than the 54,803"):
        read_gaussians(next(file for file in files if file.name == "koala.ply"), 54_803)


def test_what_is_no_file_of_gaussians(shared_data):
    assert "is a point cloud (.npz)" in refusal(shared_data / "gaussians" / "gsplat_test_garden" / "test_garden.npz")
