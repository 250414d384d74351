"""Spherical harmonics: orthonormal, in the order and with the signs of Gaussian .ply files."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from ssl_core.gaussians.gaussian_cloud import SH_C0, GaussianCloud
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.spherical_harmonics import C0, sh_basis, sh_colours


def directions(count: int, seed: int = 0) -> torch.Tensor:
    vectors = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


def test_basis_equals_the_real_harmonics_of_scipy() -> None:
    """Y_l^m with m from -l to l and the Condon-Shortley phase, as the reference rasteriser has it."""
    d = directions(50)
    theta, phi = torch.acos(d[:, 2]).numpy(), torch.atan2(d[:, 1], d[:, 0]).numpy()
    columns = []
    for degree in range(4):
        for m in range(-degree, degree + 1):
            y = sph_harm_y(degree, abs(m), theta, phi)
            part = y.real if m >= 0 else y.imag
            columns.append(part * (1 if m == 0 else np.sqrt(2)))
    expected = np.stack(columns, -1)
    assert np.allclose(sh_basis(d, 16).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("count", [1, 4, 9, 16])
def test_smaller_degrees_are_prefixes(count: int) -> None:
    d = directions(9)
    assert torch.equal(sh_basis(d, count), sh_basis(d, 16)[:, :count])


def test_constant_coefficient_is_a_colour() -> None:
    assert pytest.approx(SH_C0) == C0
    colour = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    sh = torch.zeros(1, 16, 3, dtype=torch.float64)
    sh[:, 0] = (colour - 0.5) / SH_C0
    for count in (1, 4, 9, 16):
        got = sh_colours(sh[:, :count], torch.ones(1, 3).double(), torch.zeros(3).double())
        assert torch.allclose(got, colour)


def test_colours_depend_on_the_direction_only_and_are_not_negative() -> None:
    sh = torch.randn(30, 16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    eye, d = torch.tensor([1.0, 2, 3], dtype=torch.float64), directions(30, 1)
    near, far = sh_colours(sh, eye + d, eye), sh_colours(sh, eye + 70 * d, eye)
    assert torch.allclose(near, far, atol=1e-9)
    assert near.min() >= 0


def test_a_cloud_brings_its_coefficients_in_order() -> None:
    rng = np.random.default_rng(0)
    cloud = GaussianCloud(
        xyz=rng.normal(size=(5, 3)),
        opacity_logits=rng.normal(size=5),
        log_scales=rng.normal(size=(5, 3)),
        quaternions=rng.normal(size=(5, 4)),
        sh_dc=rng.normal(size=(5, 3)),
        sh_rest=rng.normal(size=(5, 8, 3)),
    )
    tensors = GaussianTensors.from_cloud(cloud, dtype=torch.float64)
    assert tensors.sh is not None
    assert tensors.sh.shape == (5, 9, 3)
    assert np.array_equal(tensors.sh[:, 0].numpy(), cloud.sh_dc.astype(np.float64))
    assert np.array_equal(tensors.sh[:, 1:].numpy(), cloud.sh_rest.astype(np.float64))
