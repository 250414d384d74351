"""Points that repel each other at any distance."""

import pytest
import torch

from ssl_core.losses.dispersion import NEAR, dispersion


def test_it_is_the_mean_inverse_distance_of_pairs_and_falls_outwards() -> None:
    cloud = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pairs = (torch.cdist(cloud, cloud, compute_mode="donot_use_mm_for_euclid_dist").square() + NEAR**2).rsqrt()
    assert dispersion(cloud).tolist() == pytest.approx(pairs.mean(dim=(1, 2)).tolist(), rel=1e-5)
    dispersion(cloud).sum().backward()
    centred = cloud.detach() - cloud.detach().mean(1, keepdim=True)
    assert (cloud.grad * centred).sum() < 0  # downhill is outwards
    heap = torch.zeros(1, 8, 3, requires_grad=True)
    dispersion(heap).sum().backward()
    assert torch.isfinite(heap.grad).all()


def test_charges_in_a_ball_go_to_its_surface() -> None:
    generator = torch.Generator().manual_seed(1)
    cloud = (0.5 * torch.rand(1, 60, 3, generator=generator) - 0.25).requires_grad_()
    for _ in range(150):
        (slope,) = torch.autograd.grad(dispersion(cloud).sum(), cloud)
        with torch.no_grad():
            cloud -= 0.2 * slope * cloud.shape[1] / 20
            cloud /= cloud.norm(dim=-1, keepdim=True).clamp_min(1)
    assert (cloud.norm(dim=-1) > 0.95).double().mean() > 0.9
