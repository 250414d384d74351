"""Ridge regression against the augmented least-squares system that it minimises."""

import numpy as np
import pytest
import torch
from torch import nn

from ssl_core.models.ridge import RidgeRegression

torch.set_num_threads(1)


def draw(objects: int, columns: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(objects, columns, generator=generator) * torch.logspace(-2, 2, columns) + 3
    return features, torch.randn(objects, outputs, generator=generator) - 1


def augmented(features: torch.Tensor, targets: torch.Tensor, penalty: float) -> np.ndarray:
    """Predictions [objects, T] of numpy's least squares over [Z; sqrt(penalty) I] and [T; 0]."""
    rows, wanted = features.double().numpy(), targets.double().numpy()
    z, centre = (rows - rows.mean(0)) / rows.std(0), wanted.mean(0)
    columns = rows.shape[1]
    above = np.concatenate([z, np.sqrt(penalty) * np.eye(columns)])
    beside = np.concatenate([wanted - centre, np.zeros((columns, wanted.shape[1]))])
    return z @ np.linalg.lstsq(above, beside, rcond=None)[0] + centre


@pytest.mark.parametrize(("objects", "columns"), [(60, 9), (12, 30), (5000, 3)])
@pytest.mark.parametrize("penalty", [1e-3, 30.0])
def test_it_is_the_least_squares_of_the_augmented_system(objects: int, columns: int, penalty: float) -> None:
    features, targets = draw(objects, columns, 5)
    weight, bias = RidgeRegression(features, penalty).solve(targets)
    found = (features @ weight.T + bias).numpy()
    np.testing.assert_allclose(found, augmented(features, targets, penalty), rtol=2e-4, atol=2e-4)


def test_scale_and_shift_of_a_column_do_not_matter() -> None:
    features, targets = draw(30, 6, 4)
    layer, other = nn.Linear(6, 4), nn.Linear(6, 4)
    RidgeRegression(features, 10).solve_into(layer, targets)
    moved = features * torch.tensor([2.0, 1, 0.1, 1, 5, 1]) - 7
    RidgeRegression(moved, 10).solve_into(other, targets)
    torch.testing.assert_close(other(moved), layer(features), rtol=1e-4, atol=1e-4)


def test_a_column_that_never_moves_gets_no_weight_and_a_heavy_penalty_leaves_the_mean() -> None:
    features, targets = draw(30, 6, 4)
    features[:, 2] = 4.0
    weight, _ = RidgeRegression(features, 1.0).solve(targets)
    assert torch.isfinite(weight).all()
    assert (weight[:, 2] == 0).all()
    weight, bias = RidgeRegression(features, 1e9).solve(targets)
    assert weight.abs().max() < 1e-4
    torch.testing.assert_close((features @ weight.T + bias).mean(0), targets.mean(0), rtol=1e-4, atol=1e-4)
