"""Normalisation of many rows against itself in float64."""

import copy

import pytest
import torch
from torch import nn

from ssl_core.models.layers import normalise_rows

torch.set_num_threads(1)


def normed(norm: nn.BatchNorm1d, x: torch.Tensor, apply) -> dict[str, torch.Tensor]:
    """Output, gradients and buffers, in float64."""
    norm, leaf = copy.deepcopy(norm), x.clone().requires_grad_()
    out = apply(norm, leaf)
    out.backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).to(x.dtype))
    grads = {"x": leaf.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    found = {"out": out.detach(), **grads, **dict(norm.named_buffers())}
    return {name: value.double() for name, value in found.items()}


@pytest.mark.parametrize("rows", [2, 1023, 1024, 9000, 70_000])
@pytest.mark.parametrize("mean", [0.5, 30.0])
def test_is_the_normalisation_to_float32(rows: int, mean: float) -> None:
    x = torch.randn(rows, 40, generator=torch.Generator().manual_seed(0)) * 0.3 + mean
    norm = nn.BatchNorm1d(40)
    with torch.no_grad():
        norm.weight.normal_(generator=torch.Generator().manual_seed(1))
        norm.bias.normal_(generator=torch.Generator().manual_seed(2))
    found = normed(norm, x, normalise_rows)
    expected = normed(copy.deepcopy(norm).double(), x.double(), lambda module, leaf: module(leaf))
    for name, value in found.items():
        scale = 1e-3 if rows == 2 else 1e-5 if mean == 0.5 else 1e-4  # two rows: a variance may be tiny
        error = (value - expected[name]).abs().max()
        assert error <= scale * (1 + expected[name].abs().max()), f"{name} is off by {error:.1e}"


def test_evaluates_and_falls_back_as_the_module_does() -> None:
    x = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0))
    norm = nn.BatchNorm1d(5).train()
    normalise_rows(norm, x)
    assert int(norm.num_batches_tracked) == 1
    norm.eval()
    torch.testing.assert_close(normalise_rows(norm, x), norm(x), rtol=0, atol=0)
    double = nn.BatchNorm1d(5).double()
    torch.testing.assert_close(normalise_rows(double, x.double()), copy.deepcopy(double)(x.double()), rtol=0, atol=0)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normalise_rows(nn.BatchNorm1d(5), x[:1])
