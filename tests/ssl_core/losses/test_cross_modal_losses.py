"""The reference's constants and the laws of the losses."""

import math

import pytest
import torch

from ssl_core.losses.cross_modal import (
    CONSTANT_ACCURACY,
    PRIOR_CROSS_ENTROPY,
    matching_accuracy,
    matching_cross_entropy,
    pair_distance,
    triplet,
)

MATCHES = torch.tensor([1, 1, 0])


def test_constant_predictor():
    prior = torch.tensor([1 / 3, 2 / 3]).log()
    logits = prior.expand(3, 7, 2)
    assert float(matching_cross_entropy(logits, MATCHES)) == pytest.approx(PRIOR_CROSS_ENTROPY, abs=1e-5)
    assert pytest.approx(1.9095, abs=1e-4) == PRIOR_CROSS_ENTROPY
    assert float(matching_accuracy(logits, MATCHES)) == pytest.approx(CONSTANT_ACCURACY)


def test_uninformed_predictor():
    assert float(matching_cross_entropy(torch.zeros(3, 4, 2), MATCHES)) == pytest.approx(3 * math.log(2), abs=1e-5)


def test_prior_is_the_best_constant():
    for shift in (-0.5, 0.5):
        logits = torch.tensor([0.0, math.log(2) + shift]).expand(3, 5, 2)
        assert float(matching_cross_entropy(logits, MATCHES)) > PRIOR_CROSS_ENTROPY


def test_triplet_by_definition():
    generator = torch.Generator().manual_seed(0)
    a, p, n = torch.randn(3, 9, 5, generator=generator)
    rows = zip(a.tolist(), p.tolist(), n.tolist(), strict=True)
    plain = [max(0.0, math.dist(x, y) - math.dist(x, z) + 2) for x, y, z in rows]
    assert float(triplet(a, p, n, 2.0)) == pytest.approx(sum(plain) / 9, abs=1e-5)


def test_triplet_is_zero_when_negatives_are_far_and_margin_when_all_are_equal():
    a = torch.zeros(4, 3)
    assert float(triplet(a, a, a + 10, 2.0)) == 0
    assert float(triplet(a, a, a, 2.0)) == 2.0


def test_gradients_are_finite_at_zero_distance_and_right_elsewhere():
    x = torch.zeros(2, 3, requires_grad=True)
    pair_distance(x, torch.zeros(2, 3)).sum().backward()
    assert torch.equal(x.grad, torch.zeros(2, 3))
    generator = torch.Generator().manual_seed(1)
    a, p, n = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64)
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: triplet(v, p, n, 2.0), (a,))
