"""Both families of .spz writers: one turns a .ply's axes to RUB, one keeps them, and the files look alike."""

import itertools
import struct

import numpy as np
import pytest
import torch

from ssl_core.errors import ConfigError
from ssl_core.gaussians.formats.spz_axes import checked_axes, matching_axes
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.render.spherical_harmonics import sh_basis
from tests.reference.gaussian_axes import rotations
from tests.reference.plain_spz import encode_spz

VERSIONS = (1, 2, 3, 4)
HALF_TURN = np.diag([1.0, -1.0, -1.0])


def true_cloud(count: int = 40) -> GaussianCloud:
    rng = np.random.default_rng(7)
    return GaussianCloud(
        xyz=rng.normal(size=(count, 3)) * (1, 2, 0.5) + (0.2, 1.1, 0.4),
        opacity_logits=rng.uniform(-2, 3, count),
        log_scales=rng.uniform(-6, -2, (count, 3)),
        quaternions=rng.normal(size=(count, 4)),
        sh_dc=rng.uniform(-1, 1, (count, 3)),
        sh_rest=rng.uniform(-0.4, 0.4, (count, 15, 3)),
    )


def turned(cloud: GaussianCloud) -> GaussianCloud:
    """The scene after half a turn about x, without the product's tables: harmonics by fitting what is seen."""
    directions = np.random.default_rng(1).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    here = sh_basis(torch.tensor(directions), 16).numpy()[:, 1:]
    there = sh_basis(torch.tensor(directions @ HALF_TURN), 16).numpy()[:, 1:]
    change = np.linalg.lstsq(there, here, rcond=None)[0]  # coefficients there of functions here
    w, x, y, z = cloud.quaternions.T  # half a turn about x is the quaternion (0, 1, 0, 0)
    return GaussianCloud(
        cloud.xyz @ HALF_TURN,
        cloud.opacity_logits,
        cloud.log_scales,
        np.stack([-x, w, -z, y], axis=1),
        cloud.sh_dc,
        np.einsum("kj,njc->nkc", change, cloud.sh_rest),
    )


def encoded(cloud: GaussianCloud, version: int, extensions: bytes = b"") -> bytes:
    """The cloud's numbers as they are."""
    rows = [
        {
            "xyz": cloud.xyz[i].tolist(),
            "alpha": float(cloud.alphas()[i]),
            "dc": cloud.sh_dc[i].tolist(),
            "log_scales": cloud.log_scales[i].tolist(),
            "wxyz": cloud.quaternions[i].tolist(),
            "sh": cloud.sh_rest[i].tolist(),
        }
        for i in range(len(cloud))
    ]
    return encode_spz(rows, version, 3, extensions=extensions)


def check_same_scene(found: GaussianCloud, true: GaussianCloud, version: int) -> None:
    """Centres, rotations (of v1 and v2 8 bits each) and harmonics, which have 8 bits."""
    np.testing.assert_allclose(found.xyz, true.xyz, atol=4e-3 if version == 1 else 2e-4)
    same = np.abs(np.einsum("nij,nij->nj", rotations(found), rotations(true)))  # an axis and its opposite are one
    assert (same.min() > 1 - 1e-4) if version > 2 else (np.median(same) > 1 - 1e-3)
    np.testing.assert_allclose(found.sh_rest, true.sh_rest, atol=0.51 / 128)


FAMILIES = {"rub": turned, "ply": lambda cloud: cloud}


@pytest.mark.parametrize(("family", "version"), list(itertools.product(FAMILIES, VERSIONS)))
def test_each_family_comes_out_right_when_it_is_named(tmp_path, family, version):
    true, path = true_cloud(), tmp_path / "a.spz"
    path.write_bytes(encoded(FAMILIES[family](true), version))
    file = read_gaussians(path, spz_axes=family)
    check_same_scene(file.cloud, true, version)
    assert file.notes[0].startswith("axes: ")
    assert file.notes[0].endswith("as --spz-axes says")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_assumed_is_said(tmp_path, version):
    """Without any hint a file is RUB, as the description says; one of the other family is turned, and it says so."""
    true, path = true_cloud(), tmp_path / "a.spz"
    for family, expected in (("rub", true), ("ply", turned(true))):
        path.write_bytes(encoded(FAMILIES[family](true), version))
        file = read_gaussians(path)
        check_same_scene(file.cloud, expected, version)
        assert "RUB assumed" in file.notes[0]
        assert "--spz-axes ply" in file.notes[0]


@pytest.mark.parametrize("beside", ["a.ply", "a.compressed.ply"])
@pytest.mark.parametrize("change", ["none", "other order", "fewer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_ply_beside_it_decides(tmp_path, family, change, beside):
    true, path = true_cloud(400), tmp_path / "a.spz"
    kept = {"none": np.arange(400), "other order": np.arange(400)[::-1], "fewer": np.arange(390)}[change]
    write_gaussian_ply(tmp_path / beside, true)
    path.write_bytes(encoded(FAMILIES[family](true.select(kept)), 3))
    file = read_gaussians(path)
    check_same_scene(file.cloud, true.select(kept), 3)
    assert file.notes[0].endswith("as the .ply beside it shows")
    assert ("RUB" in file.notes[0]) == (family == "rub")


def test_a_ply_that_decides_nothing(tmp_path):
    """Of another scene, of one that looks the same turned, damaged, or of another name: RUB is assumed, and said."""
    true, path = true_cloud(), tmp_path / "a.spz"
    path.write_bytes(encoded(true, 3))
    flat = GaussianCloud(**{**vars(true), "xyz": true.xyz * (1, 0, 0)})
    for other in (true_cloud(41).select(slice(0, 40)), flat):
        write_gaussian_ply(tmp_path / "a.ply", GaussianCloud(**{**vars(other), "xyz": other.xyz[:, [1, 2, 0]]}))
        note = read_gaussians(path).notes[0]
        assert "RUB assumed" in note
        assert "other Gaussians and does not tell" in note
    path.write_bytes(encoded(flat, 3))
    write_gaussian_ply(tmp_path / "a.ply", flat)
    assert "RUB assumed" in read_gaussians(path).notes[0]
    (tmp_path / "a.ply").write_bytes(b"ply\nformat")
    assert "RUB assumed" in read_gaussians(path).notes[0]
    write_gaussian_ply(tmp_path / "ab.ply", true)
    (tmp_path / "a.ply").unlink()
    assert "beside" not in read_gaussians(path).notes[0]
    assert matching_axes(true.xyz, np.full((3, 3), np.nan, np.float32)) is None
    assert matching_axes(true.xyz, np.ones((3, 3), np.float32)) is None


def test_who_counts_before_whom(tmp_path):
    """The file itself before a person, a person before the .ply, the .ply before the description."""
    true, path = true_cloud(), tmp_path / "a.spz"
    write_gaussian_ply(tmp_path / "a.ply", true)
    for number, name, stored in ((4, "RUB", turned(true)), (6, "RDF", true)):
        for version in VERSIONS:
            path.write_bytes(encoded(stored, version, struct.pack("<III", 0xADBE0003, 4, number)))
            for asked in (None, "rub", "ply"):
                file = read_gaussians(path, spz_axes=asked)
                check_same_scene(file.cloud, true, version)
                assert file.notes[0] == f"axes: {name}, as the file itself names them"
    path.write_bytes(encoded(true, 3))
    check_same_scene(read_gaussians(path, spz_axes="rub").cloud, turned(true), 3)
    path.write_bytes(encoded(true, 3, struct.pack("<III", 0xADBE0003, 4, 0)))  # an extension that leaves it open
    check_same_scene(read_gaussians(path).cloud, true, 3)
    check_same_scene(read_gaussians(path, spz_axes="rub").cloud, turned(true), 3)


def test_words_for_axes():
    assert [checked_axes(word) for word in (None, "rub", "ply")] == [None, "rub", "ply"]
    for word in ("RUB", "rdf", "", "ply\n"):
        with pytest.raises(ConfigError, match=r"give rub .* or ply"):
            checked_axes(word)
