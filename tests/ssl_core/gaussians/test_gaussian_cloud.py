"""GaussianCloud: rotations, normals, opacities, selection."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import SH_C0, SH_REST, GaussianCloud
from tests.reference.gaussian_axes import normals, rotations


@pytest.mark.parametrize("degree", range(4))
def test_degree_follows_the_coefficients(make_cloud, degree):
    assert make_cloud(degree=degree).sh_degree == degree


def test_the_constant_harmonic():
    assert pytest.approx(1 / (2 * np.sqrt(np.pi)), rel=1e-15) == SH_C0


def test_arrays_become_contiguous_float32(make_cloud):
    cloud = make_cloud(8)
    odd = GaussianCloud(
        cloud.xyz.astype(np.float64)[::2],
        cloud.opacity_logits[::2],
        np.asfortranarray(cloud.log_scales[::2]),
        cloud.quaternions[::2],
        cloud.sh_dc[::2],
        cloud.sh_rest[::2],
    )
    for array in (odd.xyz, odd.opacity_logits, odd.log_scales, odd.quaternions, odd.sh_dc, odd.sh_rest):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


@pytest.mark.parametrize("rest", [(6, 4, 3), (6, 15), (5, 15, 3)])
def test_wrong_shapes_are_refused(make_cloud, rest):
    cloud = make_cloud(6)
    with pytest.raises(DataError, match="sh_rest"):
        GaussianCloud(cloud.xyz, cloud.opacity_logits, cloud.log_scales, cloud.quaternions, cloud.sh_dc, np.zeros(rest))


@pytest.mark.parametrize("norm", [1e-30, 0.6, 1.0, 1e30])
def test_rotations_agree_with_scipy_whatever_the_norm(make_cloud, norm):
    cloud = make_cloud(50)
    unit = cloud.quaternions / np.linalg.norm(cloud.quaternions, axis=1, keepdims=True)
    scaled = GaussianCloud(
        cloud.xyz, cloud.opacity_logits, cloud.log_scales, unit * np.float32(norm), cloud.sh_dc, cloud.sh_rest
    )
    expected = Rotation.from_quat(unit[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(rotations(scaled), expected, atol=1e-6)


def test_normals_are_the_directions_of_least_variance(make_cloud):
    cloud = make_cloud(40)
    turn = rotations(cloud).astype(np.float64)
    variances = np.exp(2 * cloud.log_scales.astype(np.float64))
    covariances = np.einsum("nij,nj,nkj->nik", turn, variances, turn)
    expected = np.linalg.eigh(covariances)[1][:, :, 0]
    found = normals(cloud)
    np.testing.assert_allclose(np.abs(np.einsum("ni,ni->n", found, expected)), 1, atol=1e-4)
    outward = cloud.xyz - cloud.xyz.mean(axis=0)
    assert (np.einsum("ni,ni->n", found, outward) >= 0).all()


def test_normals_of_a_sphere_point_outwards():
    rng = np.random.default_rng(1)
    radial = rng.normal(size=(400, 3))
    radial = np.concatenate([radial, -radial])
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    # The half-way quaternion turns z into the radial direction.
    half = np.column_stack([1 + radial[:, 2], -radial[:, 1], radial[:, 0], np.zeros(len(radial))])
    flat = np.tile(np.log([0.1, 0.1, 0.01]), (len(radial), 1))
    zeros = np.zeros((len(radial), 3))
    cloud = GaussianCloud(radial, zeros[:, 0], flat, half, zeros, zeros[:, None, :][:, :0])
    np.testing.assert_allclose(normals(cloud), radial, atol=1e-5)


def test_alphas_do_not_overflow(make_cloud):
    cloud = make_cloud(3)
    cloud.opacity_logits[:] = (-200, 0, 200)
    with np.errstate(all="raise"):
        np.testing.assert_allclose(cloud.alphas(), [0, 0.5, 1], atol=1e-30)


def test_select_takes_integers_booleans_and_slices(make_cloud, same):
    cloud = make_cloud(6)
    keep = np.array([True, False, True, False, False, True])
    chosen = cloud.select(keep)
    assert len(chosen) == 3
    assert same(chosen, cloud.select(np.array([0, 2, 5])))
    assert same(cloud.select(slice(0, 2)), cloud.select(np.arange(2)))


def test_padding_keeps_what_is_there(make_cloud, same):
    for degree in range(4):
        cloud = make_cloud(degree=degree)
        padded = cloud.padded(3)
        assert padded.sh_degree == 3
        np.testing.assert_array_equal(padded.sh_rest[:, : SH_REST[degree]], cloud.sh_rest)
        assert not padded.sh_rest[:, SH_REST[degree] :].any()
    assert same(padded, cloud)
