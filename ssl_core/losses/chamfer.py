"""Distances between sets of points."""

import torch
from torch import Tensor


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For each point of `a` [B, N, D] the place of the nearest of `b` [B, M, D], [B, N] int64; and back, [B, M].

    One matrix of distances serves both. It is made of a product, whose rounding may prefer another of two points that
    are equally near to some 1e-7 of the squared size of the clouds.
    """
    with torch.no_grad():
        squares = b.square().sum(-1)[:, None] - 2 * a @ b.mT  # [B, N, M] less |a|^2, which no row's minimum feels
        back = squares + a.square().sum(-1)[..., None]
        return squares.argmin(dim=2), back.argmin(dim=1)


def nearest_squared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances [B, N] from each point of `a` [B, N, 3] to the nearest of `b` [B, M, 3], and back, [B, M].

    Gradients reach both sets, through the pairs that were found.
    """
    to_b, to_a = nearest(a, b)
    return (a - picked(b, to_b)).square().sum(-1), (b - picked(a, to_a)).square().sum(-1)


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """[B] mean squared distance from `a` [B, N, 3] to the nearest of `b` [B, M, 3], plus the same back.

    Fan, Su, Guibas, CVPR 2017, equation 1, with means for sums; the reference reports 1,000 times it.
    """
    there, back = nearest_squared(a, b)
    return there.mean(1) + back.mean(1)


def picked(points: Tensor, places: Tensor) -> Tensor:
    """Points [B, N, D] at places [B, M] -> [B, M, D]."""
    return points.gather(1, places[..., None].expand(-1, -1, points.shape[2]))
