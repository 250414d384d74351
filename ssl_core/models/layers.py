"""A linear layer shared by all points, with batch normalisation and an activation.

The literature writes it as a convolution with kernel 1 and keeps weights as [out, in, 1] or [out, in, 1, 1];
so do we, so that published weights fit without reshaping. It is computed as one matrix product over rows,
channels last: that needs no transposition before a gather and is what the processor is fastest at.
"""

from typing import Literal, assert_never

import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.models.row_norm import normalise_rows

Activation = Literal["relu", "leaky_relu", "none"]
KernelDims = Literal[0, 1, 2]


def shared_linear(columns: int, out: int, kernel_dims: KernelDims) -> nn.Linear | nn.Conv1d | nn.Conv2d:
    """Weights [out, columns] followed by `kernel_dims` ones. Used through `weight_matrix`, never called."""
    match kernel_dims:
        case 0:
            return nn.Linear(columns, out)
        case 1:
            return nn.Conv1d(columns, out, 1)
        case 2:
            return nn.Conv2d(columns, out, 1)
        case _:
            assert_never(kernel_dims)


def weight_matrix(linear: nn.Linear | nn.Conv1d | nn.Conv2d) -> Tensor:
    """The weights as [out, columns]."""
    weight: Tensor = linear.weight
    return weight.flatten(1)


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply in place: callers hand over the fresh output of a normalisation, which keeps its input, not its
    output.
    """
    match activation:
        case "relu":
            return F.relu(x, inplace=True)
        case "leaky_relu":
            return F.leaky_relu(x, 0.2, inplace=True)
        case "none":
            return x
        case _:
            assert_never(activation)


def at_least_single(x: Tensor) -> Tensor:
    """Half precision to float32; sums over many rows need it."""
    return x.float() if x.dtype.itemsize < 4 else x


class PointwiseLayer(nn.Module):
    """[..., columns] -> [..., out]: linear, batch normalisation over all leading axes, activation."""

    def __init__(self, columns: int, out: int, kernel_dims: KernelDims, activation: Activation = "relu") -> None:
        super().__init__()
        self.linear = shared_linear(columns, out, kernel_dims)
        self.norm = nn.BatchNorm1d(out)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        rows = F.linear(x.flatten(0, -2), weight_matrix(self.linear), self.linear.bias)
        return activate(normalise_rows(self.norm, rows), self.activation).view(*x.shape[:-1], -1)
