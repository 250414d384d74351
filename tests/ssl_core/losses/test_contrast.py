"""Losses of agreement against their formulas, written out row by row."""

import math

import numpy as np
import pytest
import torch

from ssl_core.losses.contrast import global_distillation, nt_xent


def plain_nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    rows = np.concatenate([first, second]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count, losses = len(rows), []
    for i in range(count):
        partner = (i + count // 2) % count
        others = [math.exp(rows[i] @ rows[j] / temperature) for j in range(count) if j != i]
        losses.append(-math.log(math.exp(rows[i] @ rows[partner] / temperature) / sum(others)))
    return float(np.mean(losses))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_the_formula(temperature: float) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 7, 5))
    found = nt_xent(torch.tensor(first), torch.tensor(second), temperature)
    assert float(found) == pytest.approx(plain_nt_xent(first, second, temperature), rel=1e-9)


def test_sets_of_rows_do_not_meet() -> None:
    rng = np.random.default_rng(1)
    first, second = torch.tensor(rng.normal(size=(2, 3, 6, 4)))
    alone = [float(nt_xent(a, b, 0.5)) for a, b in zip(first, second, strict=True)]
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(np.mean(alone), rel=1e-9)


def test_wide_random_features_start_at_the_logarithm_of_their_rivals() -> None:
    first, second = torch.randn(2, 512, 4096, generator=torch.Generator().manual_seed(0))
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(math.log(2 * 512 - 1), rel=0.1)


@pytest.mark.parametrize("kind", ["cosine", "mse", "nce"])
def test_distillation_is_least_at_its_target_and_leaves_it_alone(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(6, 5, generator=generator, requires_grad=True)
    other = torch.randn(6, 5, generator=generator, requires_grad=True)
    there, elsewhere = (global_distillation(x, target, kind) for x in (target.detach().clone(), other))  # type: ignore[arg-type]
    assert float(there.detach()) < float(elsewhere.detach())
    elsewhere.backward()
    assert target.grad is None
    assert other.grad is not None


def test_mean_squares_are_over_all_numbers() -> None:
    a, b = torch.ones(2, 4), torch.zeros(2, 4)
    b[0] = 3.0
    assert float(global_distillation(a, b, "mse")) == pytest.approx((4 * 4 + 4 * 1) / 8)
