"""Losses of masks and poses: reference formulas, and the release's defects in numbers."""

import math

import pytest
import torch

from ssl_core.losses.silhouette import (
    angle_distance,
    chamfer_2d,
    mask_iou,
    mask_loss,
    released_affinity,
)

GENERATOR = torch.Generator().manual_seed(3)
TARGET = (torch.rand(3, 9, 9, generator=GENERATOR) > 0.6).float()
PREDICTED = torch.rand(3, 9, 9, generator=GENERATOR)


def test_the_released_affinity_is_a_hundred_times_the_mean_difference() -> None:
    forward, backward = released_affinity(PREDICTED, TARGET)
    assert torch.allclose(1e-4 * (forward + backward), 100 * mask_loss(PREDICTED, TARGET, "l1"), rtol=1e-4)


def test_a_mask_for_a_logit_has_a_floor_and_for_a_probability_none() -> None:
    nothing, all_of_it = torch.zeros(1, 6, 6), torch.ones(1, 6, 6)
    assert float(mask_loss(nothing, nothing, "bce_logit")) == pytest.approx(math.log(2))
    assert float(mask_loss(all_of_it, all_of_it, "bce_logit")) == pytest.approx(0.313, abs=1e-3)
    for kind in ("bce_prob", "l1", "dice"):
        assert float(mask_loss(nothing, nothing, kind)) < 1e-3
        assert float(mask_loss(all_of_it, all_of_it, kind)) < 1e-3
        assert float(mask_loss(all_of_it, nothing, kind)) > 0.9


def test_probabilities_at_the_ends_keep_a_finite_gradient() -> None:
    wrong = torch.tensor([[[0.0, 1.0], [1e-9, 0.5]]], requires_grad=True)
    mask_loss(wrong, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), "bce_prob").sum().backward()
    assert torch.isfinite(wrong.grad).all()


def brute_chamfer(points: torch.Tensor, target: torch.Tensor, power: int = 1) -> float:
    white = (target > 0.5).nonzero().to(points)
    apart = (torch.cdist(points, white) / len(target)) ** power
    return float(apart.amin(1).mean() + apart.amin(0).mean())


def test_the_chamfer_distance_of_the_picture_equals_brute_force() -> None:
    points = torch.rand(3, 12, 2, generator=GENERATOR, dtype=torch.float64) * 12 - 2
    found = chamfer_2d(points[..., 0], points[..., 1], TARGET)
    assert found.tolist() == pytest.approx([brute_chamfer(*pair) for pair in zip(points, TARGET, strict=True)])
    found = chamfer_2d(points[..., 0], points[..., 1], TARGET, squared=True)
    assert found.tolist() == pytest.approx([brute_chamfer(*pair, 2) for pair in zip(points, TARGET, strict=True)])
    assert chamfer_2d(points[:1, :, 0], points[:1, :, 1], torch.zeros(1, 9, 9)).tolist() == [0.0]


def test_coverage_weighs_one_way_against_the_other() -> None:
    points = torch.rand(3, 12, 2, generator=GENERATOR) * 12 - 2
    rows, cols = points[..., 0], points[..., 1]
    both, back, there = (chamfer_2d(rows, cols, TARGET, squared=True, coverage=share) for share in (1.0, 2.0, 0.0))
    assert torch.allclose(back + there, 2 * both, rtol=1e-5)
    white = [(target > 0.5).nonzero().float() for target in TARGET]
    reached = [torch.cdist(each, seen).amin(1).square().mean() / 81 for each, seen in zip(white, points, strict=True)]
    assert torch.allclose(back, 2 * torch.stack(reached), rtol=1e-4)


def test_thin_parts_belong_to_the_silhouette_below_half_of_a_pixel() -> None:
    """A leg of a third of a pixel's width: at 0.5 the outline ends where the seat does."""
    target = torch.zeros(1, 9, 9)
    target[0, 2:4, 2:7] = 1.0
    target[0, 4:8, 4] = 0.33
    seat = (target[0] > 0.5).nonzero().float()[None]
    rows, cols = seat.unbind(-1)
    assert float(chamfer_2d(rows, cols, target)) == 0
    foot_misses = torch.arange(1, 5).float().sum() / 14 / 9  # four pixels below ten of the seat
    assert torch.allclose(chamfer_2d(rows, cols, target, threshold=0.25), foot_misses)


def test_a_far_blob_is_drawn_to_the_object_where_a_difference_of_masks_says_nothing() -> None:
    target = torch.zeros(1, 20, 20)
    target[:, 2:6, 2:6] = 1
    distances, differences = [], []
    for left in (16.0, 13.0, 10.0):
        blob = torch.zeros(1, 20, 20)
        blob[:, 2:4, int(left) : int(left) + 2] = 1
        differences.append(float(mask_loss(blob, target, "l1")))
        distances.append(float(chamfer_2d(torch.full((1, 4), 3.0), torch.full((1, 4), left), target)))
    assert len(set(differences)) == 1
    assert distances == sorted(distances, reverse=True)
    cols = torch.full((1, 4), 12.0, requires_grad=True)
    chamfer_2d(torch.full((1, 4), 3.0), cols, target).sum().backward()
    assert (cols.grad > 0).all()  # downhill is to the left


def test_half_a_turn_is_one_place() -> None:
    ours, theirs = torch.tensor([[math.pi - 0.1, 0.2]]), torch.tensor([[-math.pi + 0.1, 0.2]])
    assert float(angle_distance(ours, theirs)) == pytest.approx(0.1, abs=1e-6)  # 0.2 of one angle of two
    assert float(angle_distance(ours, theirs, wrapped=False)) == pytest.approx(math.pi - 0.1)


def test_intersection_over_union() -> None:
    assert mask_iou(TARGET, TARGET).tolist() == [1.0, 1.0, 1.0]
    half = torch.zeros(1, 4, 4)
    half[:, :2] = 1
    assert float(mask_iou(half, torch.ones(1, 4, 4))) == 0.5
    assert float(mask_iou(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))) == 1.0
