"""Masks and colours of one step of image_to_points beside every point at every pixel, as its reference draws them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.table import Comparison
from benchmarks.timing import compare
from ssl_core.render.point_splatting import (
    OrbitLens,
    Projection,
    orbit_rotation,
    project_points,
    splat_colour,
    splat_mask,
)
from tests.reference.dense_splatting import dense_colour, dense_mask

PICTURES = 8
"""Batch 2, four projections."""
VARIANCE = 0.4
Draw = Callable[[Projection, Tensor, int], tuple[Tensor, Tensor]]


def compared(points: int, size: int, repetitions: int, at_least: float) -> list[Comparison]:
    """Forward and backward, after both were found equal to 1e-5."""
    generator = torch.Generator().manual_seed(0)
    xyz = (torch.rand(PICTURES, points, 3, generator=generator) - 0.5).requires_grad_()
    rgb = torch.rand(PICTURES, points, 3, generator=generator).requires_grad_()
    angles = torch.rand(PICTURES, 2, generator=generator)
    work = partial(step, xyz=xyz, rgb=rgb, angles=angles, size=size)
    for ours, theirs in zip(work(fast), work(dense), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    what = f"{PICTURES} pictures of {points:,} points, {size} px, forward and backward"
    return [compare(what, partial(work, fast), partial(work, dense), repetitions, at_least)]


def step(draw: Draw, xyz: Tensor, rgb: Tensor, angles: Tensor, size: int) -> tuple[Tensor, ...]:
    """Masks, pictures, and the gradients of points and colours."""
    seen = project_points(xyz, orbit_rotation(angles[:, 0], angles[:, 1]), OrbitLens.of(size, 120 / 64, 2.0))
    mask, picture = draw(seen, rgb, size)
    gradients = torch.autograd.grad(mask.mean() + picture.square().mean(), (xyz, rgb))
    return mask.detach(), picture.detach(), *gradients


def fast(seen: Projection, rgb: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Ours."""
    return splat_mask(seen, size, VARIANCE), splat_colour(seen, rgb, size)


def dense(seen: Projection, rgb: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The reference's."""
    picture = dense_colour(seen.rows, seen.cols, seen.depths, rgb, size)
    return dense_mask(seen.rows, seen.cols, size, VARIANCE), picture
