"""Layers of point networks: a linear layer shared by all points, exact batch normalisation, the maximum over points.

The literature writes a shared layer as a convolution with kernel 1 and keeps weights as [out, in, 1] or
[out, in, 1, 1]; so do we, so that published weights fit without reshaping. It is computed as one matrix product over
rows, channels last: that needs no transposition before a gather and is what the processor is fastest at.

*Normalisation.* PyTorch's CPU kernel for rows [R, C] adds up one float32 after another. Over the half million members
of PointNet++'s groups that leaves means and variances with three digits. `normalise_rows` makes its sums of blocks of
one fixed size, so the result is exact to float32 and repeatable.

*Pooling.* Per channel, batch normalisation followed by a rising activation is monotone: rising where its scale gamma is
positive, falling where it is negative. So the maximum can be taken first. With s = sign(gamma) and z = s (W x + b),

    max_n act(BN(W x_n + b))  =  act(|gamma| (max_n z_n - mean(z)) / sqrt(var(z) + eps) + beta),

and mean and variance of a linear map follow from those of its input: mean(W x) = W mean(x) and
var(W x) = diag(W Cov(x) W^T). So the widest tensor of the network is searched for its maximum and forgotten: it is
neither kept for the backward pass nor normalised. The slow twin in the tests takes the usual order.
"""

from typing import Any, Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_MANY = 1024
"""Below this many rows the kernel's own sums are as good."""
_BLOCK = 2**18
"""Values per block: a megabyte, which stays in the cache between the steps on it."""


def normalise_rows(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """What `norm(rows)` is for rows [R, C], with its running statistics updated when it trains."""
    # in evaluation nothing is asked of the number of rows: an exported program must not depend on it
    slow = norm.training and rows.device.type == "cpu" and rows.shape[0] >= _MANY
    if not slow or not rows.dtype == norm.weight.dtype == torch.float32:
        normalised: Tensor = norm(rows)
        return normalised
    out, mean, var = _NormaliseRows.apply(rows, norm.weight, norm.bias, norm.eps)
    track(norm, mean, var, rows.shape[0])
    exact: Tensor = out
    return exact


def track(norm: nn.BatchNorm1d, mean: Tensor, var: Tensor, rows: int) -> None:
    """Update the running statistics as `nn.BatchNorm1d` does in training (unbiased variance).

    Raises ValueError for a single row, as `nn.BatchNorm1d` does: there is no variance to normalise by.
    """
    if rows < 2:
        raise ValueError(
            "batch normalisation needs more than one row per channel when training; use a batch of 2 or more"
        )
    momentum = 0.1 if norm.momentum is None else norm.momentum
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
        norm.running_var.lerp_((var * (rows / (rows - 1))).to(norm.running_var), momentum)


class _NormaliseRows(torch.autograd.Function):
    """x [R, C], weight [C], bias [C] -> normalised [R, C]; mean and biased variance [C], without gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        blocks = x.split(max(1, _BLOCK // x.shape[1]))
        mean = torch.stack([block.sum(0) for block in blocks]).sum(0, dtype=torch.float64).div(len(x)).to(x.dtype)
        squares = torch.stack([(block - mean).square_().sum(0) for block in blocks])
        var = squares.sum(0, dtype=torch.float64).div(len(x)).to(x.dtype)
        scale = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.mark_non_differentiable(mean, var)
        out = torch.empty_like(x)
        for block, target in zip(blocks, out.split(blocks[0].shape[0]), strict=True):
            torch.sub(block, mean, out=target)
            target.mul_(scale * weight).add_(bias)
        return out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale = ctx.saved_tensors
        rows = max(1, _BLOCK // x.shape[1])
        pairs = list(zip(x.split(rows), grads[0].split(rows), strict=True))
        bias_grad = torch.stack([dy.sum(0) for _, dy in pairs]).sum(0, dtype=torch.float64).to(x.dtype)
        along = torch.stack([((block - mean).mul_(dy)).sum(0) for block, dy in pairs])
        weight_grad = along.sum(0, dtype=torch.float64).to(x.dtype) * scale
        # dx = w s (dy - mean(dy) - x^ mean(x^ dy)) with x^ = s (x - mean)
        slope, level = weight_grad * scale / len(x), bias_grad / len(x)
        x_grad = torch.empty_like(x)
        for (block, dy), target in zip(pairs, x_grad.split(rows), strict=True):
            torch.sub(mean, block, out=target)
            target.mul_(slope).add_(dy).sub_(level).mul_(weight * scale)
        return x_grad, weight_grad, bias_grad, None


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
    """Apply in place: callers hand over the fresh output of a normalisation, which keeps its input, not its output."""
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


def channel_signs(norm: nn.BatchNorm1d) -> Tensor:
    """[out]: -1 where the normalisation's scale is negative, else 1. No gradient."""
    return 1.0 - 2.0 * (norm.weight.detach() < 0).to(norm.weight.dtype)


def normalise_pooled(norm: nn.BatchNorm1d, pooled: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Normalise the maxima [..., out] of signed values whose mean and biased variance are given, each [out]."""
    return (pooled - mean) * (norm.weight.abs() * torch.rsqrt(var + norm.eps)) + norm.bias


def running_statistics(norm: nn.BatchNorm1d, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the signed values and variance, each [out], as evaluation uses them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean * signs, norm.running_var


class PooledLinear(torch.autograd.Function):
    """x [G, K, C], weight [out, C] -> max_k W (x - mean) [G, out], mean of x [C], Cov(x) [C, C].

    Mean and (biased) covariance are over all G K rows; the mean carries no gradient of its own. Only x and
    the winners' indices are kept for the backward pass. Everything is centred, for digits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        groups, members, columns = x.shape
        mean = x.flatten(0, 1).mean(0)
        covariance = x.new_zeros(columns, columns)
        pooled = x.new_empty(groups, weight.shape[0])
        winner = torch.empty_like(pooled, dtype=torch.int64)
        # in blocks that stay in the cache: neither the centred rows nor the products are ever written out whole
        step = max(1, _BLOCK // (members * max(columns, weight.shape[0]))) if x.device.type == "cpu" else groups
        for start in range(0, groups, step):
            centred = x[start : start + step] - mean
            rows = centred.flatten(0, 1)
            covariance.addmm_(rows.T, rows)
            # [g, out, K]: the search runs along contiguous memory
            product = torch.bmm(weight.expand(len(centred), -1, -1), centred.transpose(1, 2))
            torch.max(product, 2, out=(pooled[start : start + step], winner[start : start + step]))
        covariance /= groups * members
        ctx.save_for_backward(x, weight, winner, mean)
        ctx.mark_non_differentiable(mean)
        return pooled, mean, covariance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight, winner, mean = ctx.saved_tensors
        pooled_grad, _, covariance_grad = grads
        rows = x.flatten(0, 1)
        # d Cov / d x: centring adds nothing, the centred rows sum to zero
        spread = (covariance_grad + covariance_grad.T) / rows.shape[0]
        total = pooled_grad.sum(0)
        constant = -(total @ weight) / rows.shape[0] - mean @ spread
        rows_grad = torch.addmm(constant, rows, spread)
        if x.shape[1] >= x.shape[2]:
            weight_grad = _add_winners(rows_grad, (x, mean), weight, winner, pooled_grad)
        else:
            wide = x.new_zeros(*x.shape[:2], weight.shape[0])
            wide = wide.scatter_(1, winner[:, None], pooled_grad[:, None]).flatten(0, 1)
            rows_grad.addmm_(wide, weight)
            weight_grad = torch.addr(wide.T @ rows, total, mean, alpha=-1)
        return rows_grad.view_as(x), weight_grad


def _add_winners(
    rows_grad: Tensor, x_and_mean: tuple[Tensor, Tensor], weight: Tensor, winner: Tensor, pooled_grad: Tensor
) -> Tensor:
    """Add the maxima's gradient to `rows_grad` in place, return the weight's.

    For large groups, where few rows win: no [G, K, out] tensor is made.
    """
    x, mean = x_and_mean
    offset = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    index = (winner + offset).flatten()
    scale = pooled_grad[:, :, None]
    rows_grad.index_add_(0, index, (scale * weight).flatten(0, 1))
    winning = x.flatten(0, 1).index_select(0, index).sub_(mean).view(*winner.shape, -1)
    return winning.mul_(scale).sum(0)


class PooledLayer(nn.Module):
    """[..., K, columns] -> [..., out]: the last layer of a shared network and the maximum over its K points."""

    def __init__(self, columns: int, out: int, kernel_dims: KernelDims, activation: Activation = "relu") -> None:
        super().__init__()
        self.linear = shared_linear(columns, out, kernel_dims)
        self.norm = nn.BatchNorm1d(out)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        signs = channel_signs(self.norm)
        weight = weight_matrix(self.linear) * signs[:, None]
        assert self.linear.bias is not None
        bias = self.linear.bias * signs
        if self.norm.training:
            # float16 would overflow in the covariance and tie in the maximum
            with torch.autocast(x.device.type, enabled=False):
                return activate(self._train(x.to(weight.dtype), weight, bias, signs), self.activation)
        pooled = F.linear(x, weight, bias).amax(-2)
        return activate(normalise_pooled(self.norm, pooled, *running_statistics(self.norm, signs)), self.activation)

    def with_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each point's own output [..., K, out] and `forward`'s maximum over them, both of the same statistics: for
        losses on single points. All K rows are kept and normalised, which `forward` saves."""
        rows = F.linear(x.flatten(0, -2), weight_matrix(self.linear), self.linear.bias)
        each = activate(normalise_rows(self.norm, rows), self.activation).view(*x.shape[:-1], -1)
        return each, each.amax(-2)

    def _train(self, x: Tensor, weight: Tensor, bias: Tensor, signs: Tensor) -> Tensor:
        pooled, centre, covariance = PooledLinear.apply(x.flatten(0, -3), weight)
        var = (weight @ covariance * weight).sum(1)
        with torch.no_grad():
            track(self.norm, F.linear(centre, weight, bias) * signs, var, x.shape[:-1].numel())
        # the batch's mean takes the bias with it: its gradient is zero, and must be that rather than missing
        pooled = pooled.view(*x.shape[:-2], -1) + bias * 0.0
        return normalise_pooled(self.norm, pooled, torch.zeros_like(var), var)
