"""Columns of other trainers: 2DGS, Mip-Splatting, motion, and what nobody knows."""

import numpy as np
import pytest

from ssl_core.errors import PlyError
from ssl_core.gaussians.gaussian_file import read_gaussians
from tests.reference.gaussian_axes import normals, rotations

FORMS = ("little", "big", "ascii")


@pytest.mark.parametrize("form", FORMS)
def test_gaussians_of_two_scales_are_flat(make_cloud, columns_of, write_ply, tmp_path, form):
    """A thousandth of the shorter side; all else as it is in the file. The normal is the disk's, its third axis."""
    true = make_cloud(9, 3)
    columns = columns_of(true)
    del columns["scale_2"]
    file = read_gaussians(write_ply(tmp_path / "2dgs.ply", columns, form))
    cloud = file.cloud
    np.testing.assert_array_equal(cloud.log_scales[:, :2], true.log_scales[:, :2])
    np.testing.assert_allclose(np.exp(cloud.log_scales[:, 2]) * 1000, np.exp(true.log_scales[:, :2].min(1)), rtol=1e-5)
    for name in ("xyz", "opacity_logits", "quaternions", "sh_dc", "sh_rest"):
        np.testing.assert_array_equal(getattr(cloud, name), getattr(true, name))
    assert any("no scale_2 (2DGS)" in note for note in file.notes)
    third = rotations(cloud)[:, :, 2]
    np.testing.assert_allclose(np.abs((normals(cloud) * third).sum(1)), 1, atol=1e-5)


def test_flat_gaussians_that_are_wrong(make_cloud, columns_of, write_ply, tmp_path):
    """What is wrong with the two scales is said as always; one scale or none is no disk."""
    columns = columns_of(make_cloud(9, 0))
    del columns["scale_2"]
    columns["scale_1"][3] = np.nan
    with pytest.raises(PlyError, match=r"'scale_1' \(1 NaN"):
        read_gaussians(write_ply(tmp_path / "a.ply", columns))
    del columns["scale_1"]
    with pytest.raises(PlyError, match="lacks property 'scale_1'"):
        read_gaussians(write_ply(tmp_path / "a.ply", columns))
    del columns["scale_0"]
    with pytest.raises(PlyError, match="lacks property 'scale_0'"):
        read_gaussians(write_ply(tmp_path / "a.ply", columns))


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (("filter_3D",), "filter_3D (Mip-Splatting's smoothing) is not applied"),
        (("t", "scale_t", "rot_r_0", "rot_r_1", "rot_r_2", "rot_r_3"), "motion.*: t, scale_t, rot_r_0, rot_r_1"),
        (("trbf_center", "trbf_scale", *(f"motion_{i}" for i in range(9)), *(f"omega_{i}" for i in range(4))),
         "motion.*: trbf_center, trbf_scale, motion_0, motion_1, motion_2, motion_3 and 9 more"),
        (("beta", "lod"), "columns that are not read.*: beta, lod"),
        (("x" * 60, "beta"), "columns that are not read.*: beta and 1 more"),
        (("nx", "ny", "nz", "red", "green", "blue"), None),
    ],
)  # fmt: skip
def test_columns_that_change_the_picture_are_noted(make_cloud, columns_of, write_ply, same, tmp_path, extra, says):
    cloud = make_cloud(5, 1)
    columns = columns_of(cloud) | {name: np.zeros(5, np.float32) for name in extra}
    file = read_gaussians(write_ply(tmp_path / "a.ply", columns))
    assert same(file.cloud, cloud)
    assert len(file.notes) == (says is not None)
    if says is not None:
        words, _, names = says.partition(".*: ")
        assert words in file.notes[0]
        assert file.notes[0].endswith(names) or names in file.notes[0]


def test_several_dialects_in_one_file(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(5, 0)) | {name: np.zeros(5) for name in ("filter_3D", "omega_0", "label")}
    del columns["scale_2"]
    notes = read_gaussians(write_ply(tmp_path / "a.ply", columns)).notes
    assert [note.split()[0] for note in notes] == ["no", "filter_3D", "columns", "columns"]
