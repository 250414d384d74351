"""Losses of label maps: reference values of label3dgs.md section 5, and what void pixels, smoothing and weights do."""

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from ssl_core.losses.label_field import (
    IGNORED,
    LabelLossKind,
    class_balance,
    floor_of_shipped_loss,
    label_loss,
)

KINDS: tuple[LabelLossKind, ...] = get_args(LabelLossKind)


def maps(classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores [4, 6, C], coverage and labels; blended probabilities are the softmax of scores times coverage."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 6, classes, generator=generator, dtype=torch.float64)
    coverage = torch.rand(4, 6, generator=generator, dtype=torch.float64).clamp_min(0.1)
    return scores, coverage, torch.randint(0, classes, (4, 6), generator=generator)


def given(kind: LabelLossKind, scores: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
    return scores.softmax(-1) * coverage[..., None] if kind == "nll_of_blended_probs" else scores


@pytest.mark.parametrize("classes", [2, 20, 66])
def test_every_loss_begins_at_log_c_and_the_shipped_one_never_falls_below_its_floor(classes: int) -> None:
    labels = torch.arange(24).reshape(4, 6) % classes
    zeros, ones = torch.zeros(4, 6, classes), torch.ones(4, 6)
    for kind in KINDS:
        start = label_loss(kind, given(kind, zeros, ones), ones, labels, gamma=0.0)
        assert start.item() == pytest.approx(math.log(classes), abs=1e-5)
    sure = 100 * F.one_hot(labels, classes).float()
    floor = floor_of_shipped_loss(classes)
    assert label_loss("ce_on_softmax", sure, ones, labels).item() == pytest.approx(floor, abs=1e-5)
    wrong = label_loss("ce_on_softmax", sure, ones, (labels + 1) % classes).item()
    assert wrong == pytest.approx(floor + 1, abs=1e-5), "bounded by one nat above the floor"
    assert label_loss("ce_logits", sure, ones, labels).item() < 1e-5
    assert {20: 2.078, 66: 3.215}.get(classes, floor) == pytest.approx(floor, abs=1e-3)


def test_the_equations() -> None:
    scores, coverage, labels = maps()
    p = scores.softmax(-1).gather(-1, labels[..., None])[..., 0]
    q = scores.softmax(-1)
    twice = (-q.gather(-1, labels[..., None])[..., 0] + q.exp().sum(-1).log()).mean()
    wanted = {
        "ce_on_softmax": twice,
        "ce_logits": -p.log().mean(),
        "nll_of_blended_probs": -p.log().mean(),
        "focal": -((1 - p) ** 2 * p.log()).mean(),
    }
    for kind in KINDS:
        found = label_loss(kind, given(kind, scores, coverage), coverage, labels)
        torch.testing.assert_close(found, wanted[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_void_pixels_change_nothing_and_nothing_but_void_is_zero(kind: LabelLossKind) -> None:
    scores, coverage, labels = maps()
    blended = given(kind, scores, coverage).requires_grad_()
    some = labels.clone()
    some[0] = IGNORED
    found = label_loss(kind, blended, coverage, some)
    torch.testing.assert_close(found, label_loss(kind, blended[1:], coverage[1:], labels[1:]))
    (gradient,) = torch.autograd.grad(found, blended)
    assert (gradient[0] == 0).all()
    assert (gradient[1:] != 0).any()
    nothing = label_loss(kind, blended, coverage, torch.full_like(labels, IGNORED))
    (gradient,) = torch.autograd.grad(nothing, blended)
    assert nothing.item() == 0
    assert (gradient == 0).all()


def test_what_no_gaussian_covers_has_a_finite_loss_and_gradient() -> None:
    scores, _, labels = maps()
    blended = (0 * scores).requires_grad_()
    loss = label_loss("nll_of_blended_probs", blended, torch.zeros(4, 6, dtype=torch.float64), labels)
    (gradient,) = torch.autograd.grad(loss, blended)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_smoothing_and_class_weights_are_those_of_torch() -> None:
    scores, coverage, labels = maps()
    weights = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    flat, wanted = scores.reshape(-1, 5), labels.reshape(-1)
    found = label_loss("ce_logits", scores, coverage, labels, class_weights=weights)
    torch.testing.assert_close(found, F.cross_entropy(flat, wanted, weights))
    for kind in ("ce_logits", "nll_of_blended_probs"):
        smooth = label_loss(kind, given(kind, scores, coverage), coverage, labels, smoothing=0.2)
        torch.testing.assert_close(smooth, F.cross_entropy(flat, wanted, label_smoothing=0.2))


def test_balanced_weights_give_each_class_the_same_say() -> None:
    counts = torch.tensor([30, 10, 0, 60])
    factors = class_balance(counts)
    assert factors[2] == 0
    says = factors * counts
    assert torch.allclose(says[[0, 1, 3]], says[0])
    assert says.sum().item() == pytest.approx(counts.sum().item())
