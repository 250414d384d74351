"""Structural similarity as everybody computes it, its gradient, and the laws of the loss."""

import pytest
import torch
from reference.plain_scene_fit import plain_ssim

from ssl_core.losses.photometric import photometric_loss, psnr, ssim


def pictures(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height)
    first = torch.rand(height, width, 3, generator=generator, dtype=torch.float64)
    return first, (first + 0.2 * torch.randn(first.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)


@pytest.mark.parametrize(("height", "width"), [(24, 37), (5, 9), (1, 1)])
def test_ssim_and_its_gradient_are_those_of_the_convolution(height: int, width: int) -> None:
    first, second = pictures(height, width)
    found = []
    for how in (ssim, plain_ssim):
        leaf = first.clone().requires_grad_()
        value = how(leaf, second)
        found.append((value.detach(), *torch.autograd.grad(value, leaf)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


def test_the_loss_weighs_error_and_dissimilarity() -> None:
    first, second = pictures(16, 16)
    error, alike = (first - second).abs().mean(), ssim(first, second)
    torch.testing.assert_close(photometric_loss(first, second, 0.2), 0.8 * error + 0.2 * (1 - alike))
    assert photometric_loss(first, second, 0) == error
    assert photometric_loss(first, first, 0.2).abs() < 1e-12
    assert ssim(first, second) < ssim(first, first)


def test_psnr_of_one_picture_is_its_formula() -> None:
    first = torch.full((4, 4, 3), 0.5)
    assert psnr(first + 0.1, first) == pytest.approx(20, abs=1e-4)
    assert psnr(first + 9, torch.ones(4, 4, 3)) == pytest.approx(120)


def test_who_measures_first_leaves_nothing_that_training_cannot_use() -> None:
    image = torch.rand(37, 23, 3)
    with torch.inference_mode():
        ssim(image, image)
    twin = torch.rand(37, 23, 3, requires_grad=True)
    ssim(twin, image).sum().backward()
    assert twin.grad is not None
