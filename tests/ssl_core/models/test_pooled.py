"""The cheap order of linear, normalisation, activation and maximum equals the usual one: values, gradients,
statistics.
"""

import copy

import pytest
import torch
import torch.nn.functional as F

from ssl_core.models.dgcnn import EdgeLayer
from ssl_core.models.layers import PooledLayer, activate

torch.set_num_threads(1)
DOUBLE = {"dtype": torch.float64}


def usual_order(layer: PooledLayer, x: torch.Tensor) -> torch.Tensor:
    rows = F.linear(x.flatten(0, -2), layer.linear.weight.flatten(1), layer.linear.bias)
    return activate(layer.norm(rows), layer.activation).view(*x.shape[:-1], -1).amax(-2)


def usual_edges(layer: EdgeLayer, x: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    ahead = torch.stack([cloud[index] for cloud, index in zip(x, neighbours, strict=True)])
    here = x[:, :, None].expand_as(ahead)
    rows = F.linear(torch.cat([ahead - here, here], -1), layer.linear.weight.flatten(1), layer.linear.bias)
    return activate(layer.norm(rows.flatten(0, 2)), "leaky_relu").view_as(rows).amax(2)


def assert_twins(layer: torch.nn.Module, cheap, usual, x: torch.Tensor, tolerance: float = 1e-9) -> None:
    """Run both on copies of the layer: outputs, all gradients and all buffers are equal."""
    with torch.no_grad():
        layer.norm.weight.normal_(0, 1, generator=torch.Generator().manual_seed(5))
        layer.norm.bias.normal_(0, 1, generator=torch.Generator().manual_seed(6))
    results = []
    for compute in (cheap, usual):
        twin, leaf = copy.deepcopy(layer), x.clone().requires_grad_()
        out = compute(twin, leaf)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7), **DOUBLE)
        (out * weights).sum().backward()
        grads = {name: parameter.grad for name, parameter in twin.named_parameters()}
        results.append({"out": out.detach(), "x": leaf.grad, **grads, **dict(twin.named_buffers())})
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=tolerance, atol=tolerance, msg=f"{name} differs")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "none"])
@pytest.mark.parametrize("shape", [(4, 50, 7), (4, 5, 7), (2, 6, 5, 7), (2, 3, 40, 7), (2, 1, 7)])
def test_pooled_layer(shape: tuple[int, ...], activation: str, training: bool) -> None:
    layer = PooledLayer(7, 33, 1, activation).double().train(training)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), **DOUBLE)
    assert_twins(layer, lambda module, leaf: module(leaf), usual_order, x)


@pytest.mark.parametrize("training", [True, False])
def test_pooled_layer_far_from_the_origin(training: bool) -> None:
    layer = PooledLayer(7, 33, 1).double().train(training)
    x = torch.randn((4, 50, 7), generator=torch.Generator().manual_seed(1), **DOUBLE) * 1e-2 + 30
    # the usual order loses digits here: its weight gradient is a difference of numbers 10^7 times its size
    assert_twins(layer, lambda module, leaf: module(leaf), usual_order, x, tolerance=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_edge_layer(training: bool) -> None:
    layer = EdgeLayer(5, 17).double().train(training)
    x = torch.randn((3, 12, 5), generator=torch.Generator().manual_seed(1), **DOUBLE) + 3
    neighbours = torch.randint(0, 12, (3, 12, 4), generator=torch.Generator().manual_seed(2))
    assert_twins(
        layer,
        lambda module, leaf: module(leaf, neighbours),
        lambda module, leaf: usual_edges(module, leaf, neighbours),
        x,
    )


def test_gradients_by_finite_differences() -> None:
    layer = PooledLayer(3, 4, 0, "leaky_relu").double()
    x = torch.randn((2, 6, 3), generator=torch.Generator().manual_seed(1), requires_grad=True, **DOUBLE)
    assert torch.autograd.gradcheck(lambda leaf: layer(leaf), (x,))


def test_identical_rows_stay_finite() -> None:
    layer = PooledLayer(3, 4, 0)
    x = torch.ones(2, 6, 3, requires_grad=True)
    layer(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.linear.weight.grad).all()


def test_one_row_cannot_be_normalised() -> None:
    with pytest.raises(ValueError, match="more than one row"):
        PooledLayer(3, 4, 0)(torch.ones(1, 1, 3))
