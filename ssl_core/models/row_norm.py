"""Batch normalisation of very many rows on the CPU, to the last digits.

PyTorch's CPU kernel for rows [R, C] adds up one float32 after another. Over the half million members of PointNet++'s
groups that leaves means and variances with three digits: two ways of computing the same network then differ by 1e-3 and
more. Here sums are made of blocks, and blocks of one fixed size, so the result is exact to float32 and repeatable.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_MANY = 1024
"""Below this many rows the kernel's own sums are as good."""
_BLOCK = 2**18
"""Values per block: a megabyte, which stays in the cache between the steps on it."""


def normalise_rows(norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """What `norm(rows)` is for rows [R, C], with its running statistics updated when it trains."""
    # in evaluation nothing is asked of the number of rows: an exported program must not depend on it
    if not norm.training or rows.device.type != "cpu" or not _exact(norm, rows):
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


def _exact(norm: nn.BatchNorm1d, rows: Tensor) -> bool:
    return rows.shape[0] >= _MANY and rows.dtype == norm.weight.dtype == torch.float32


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
