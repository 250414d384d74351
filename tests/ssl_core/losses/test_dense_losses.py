"""Losses of depth maps and of feature maps: what they mean, and what the released gradient loss does not."""

import math

import pytest
import torch

from ssl_core.losses.depth import EPSILON, gradient_loss, gradient_loss_as_released, scale_invariant_log_loss
from ssl_core.losses.feature_maps import masked_map_loss


def maps(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (1 + torch.rand(batch, 12, 16, generator=generator) for _ in range(2))  # type: ignore[return-value]


def test_the_scale_invariant_loss_is_its_formula_over_known_pixels() -> None:
    predicted, truth = maps(2)
    truth[:, 3:5] = 0
    known = truth > 0
    g = (predicted[known] + EPSILON).log() - (truth[known] + EPSILON).log()
    wanted = math.sqrt(float(g.var()) + 0.15 * float(g.mean()) ** 2)
    assert float(scale_invariant_log_loss(predicted, truth)) == pytest.approx(wanted, rel=1e-5)
    assert float(scale_invariant_log_loss(predicted, truth, warm=True)) == pytest.approx(
        math.sqrt(0.15) * abs(float(g.mean())), rel=1e-4
    )
    predicted.requires_grad_()
    scale_invariant_log_loss(predicted, truth).backward()
    assert predicted.grad is not None
    assert bool((predicted.grad[~known] == 0).all())


def test_of_a_right_map_times_a_number_only_the_scale_is_wrong() -> None:
    _, truth = maps(1)
    loss = float(scale_invariant_log_loss(2 * truth, truth))
    assert loss == pytest.approx(math.sqrt(0.15) * math.log(2), rel=0.01)
    assert float(gradient_loss(2 * truth, truth)) < 0.05  # not quite 0: of EPSILON
    assert float(gradient_loss(truth.flip(1), truth)) > 0.1


def test_the_released_gradient_loss_of_two_images_is_zero_and_of_three_compares_images() -> None:
    predicted, truth = maps(2)
    assert float(gradient_loss_as_released(predicted, truth)) == 0
    assert float(gradient_loss(predicted, truth)) > 0
    predicted, truth = maps(3)
    released = float(gradient_loss_as_released(predicted, truth))
    assert released > 0
    g = (predicted + EPSILON).log() - (truth + EPSILON).log()
    assert released == pytest.approx(float((g[2] - g[0]).abs().sum() / g.numel()), rel=1e-5)
    same = [each[:1].expand(3, -1, -1) for each in (predicted, truth)]
    assert float(gradient_loss_as_released(*same)) == 0  # three times one image: no image differs


@pytest.mark.parametrize("kind", ["l1", "l2", "cosine"])
def test_a_token_that_does_not_count_changes_neither_loss_nor_gradient(kind) -> None:
    generator = torch.Generator().manual_seed(1)
    told = torch.randn(2, 6, 3, 4, generator=generator, requires_grad=True)
    target, weight = torch.randn(2, 6, 3, 4, generator=generator), torch.rand(2, 3, 4, generator=generator)
    weight[0, 1] = 0
    loss = masked_map_loss(told, target, weight, kind)
    (gradient,) = torch.autograd.grad(loss, told)
    assert bool((gradient[0, :, 1] == 0).all())
    assert bool((gradient[1] != 0).any())
    wild = target.clone()
    wild[0, :, 1] = 1e6
    assert torch.equal(masked_map_loss(told, wild, weight, kind), loss)
    assert float(masked_map_loss(told.detach(), target, 3 * weight, kind)) == pytest.approx(
        float(loss.detach()), rel=1e-5
    )


def test_the_l1_loss_is_the_reference_s() -> None:
    told, target = torch.randn(2, 5, 3, 3), torch.randn(2, 5, 3, 3)
    mask = (torch.rand(2, 3, 3) > 0.4).float()
    wanted = ((told - target).abs() * mask[:, None]).sum() / (mask.sum() * 5)
    assert torch.allclose(masked_map_loss(told, target, mask, "l1"), wanted)
    assert float(masked_map_loss(target, target, mask, "cosine")) == pytest.approx(0, abs=1e-6)
