"""The tile rasteriser beside two dense statements of the same picture."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.point_pictures import compared
from benchmarks.table import Comparison, Section, ratio_table
from benchmarks.timing import compare, one_thread
from ssl_core.gaussians.gaussian_cloud import SH_C0
from ssl_core.meshes.household import household_cloud, household_mesh
from ssl_core.render.gaussian_raster import render_gaussians
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.projection import project
from ssl_core.render.torch_raster import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from ssl_core.scenes.cameras import Camera, orbit_cameras
from tests.reference.dense_raster import dense_render

Leaves = dict[str, Tensor]
Draw = Callable[[Leaves, Camera], Tensor]
WHITE = (1.0, 1.0, 1.0)
CHUNK = 512
"""Pixels that the dense statement computes at a time."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    gaussians: int = 2000
    images: tuple[int, ...] = (64, 128)
    twin_image: int = 64
    points: int = 1024
    points_image: int = 64
    repetitions: int = 3
    at_least: float = 0.1


QUICK = Sizes(gaussians=60, images=(16,), twin_image=16, points=60, points_image=16, repetitions=2, at_least=0.0)


def measure(quick: bool = False) -> Section:
    """One view of a procedural chair, forward alone and with the gradient of every parameter."""
    sizes = QUICK if quick else Sizes()
    leaves, double = chair(sizes.gaussians, torch.float32), chair(sizes.gaussians, torch.float64)
    tables: list[list[Comparison]] = [[], []]
    with one_thread():
        for size in sizes.images:
            camera = orbit_cameras(1, size)[0]
            check_equal(leaves, camera)
            tables[0] += both_ways(dense, leaves, camera, sizes)
        camera = orbit_cameras(1, sizes.twin_image)[0]
        torch.testing.assert_close(forward(tiles, double, camera), forward(twin, double, camera), rtol=0, atol=1e-9)
        tables[1] += both_ways(twin, double, camera, sizes)
        points = compared(sizes.points, sizes.points_image, sizes.repetitions, sizes.at_least)
    return Section(
        title="Rasteriser",
        shows=f"What the tiles save on a picture of {sizes.gaussians:,} Gaussians.",
        baseline="The baseline evaluates every Gaussian at every pixel: first as whole-tensor operations with "
        "automatic gradients in float32, then as the tests' slow twin, a loop over Gaussians in float64.",
        tables=(
            ratio_table(tables[0], "dense, whole tensors"),
            ratio_table(tables[1], "slow twin, float64"),
            ratio_table(points, "every point at every pixel"),
        ),
        notes=(
            "In the second table ours computes in float64 too.",
            "The third is of point clouds, masks and colours of one step of image_to_points, batch 2, four views, "
            "beside its reference's dense projection.",
        ),
    )


def both_ways(baseline: Draw, leaves: Leaves, camera: Camera, sizes: Sizes) -> list[Comparison]:
    """Forward alone, then forward and backward."""
    return [
        compare(
            f"{camera.width} px, {what}",
            partial(work, tiles, leaves, camera),
            partial(work, baseline, leaves, camera),
            sizes.repetitions,
            sizes.at_least,
        )
        for what, work in (("forward", forward), ("forward and backward", forward_and_backward))
    ]


def chair(count: int, dtype: torch.dtype) -> Leaves:
    """Surface Gaussians of a chair in the unit sphere, with colours; leaves of the gradient."""
    rng = np.random.default_rng(0)
    cloud = household_cloud(household_mesh("chair", rng).normalised(), count, rng)
    arrays = {
        "xyz": cloud.xyz,
        "opacity_logits": cloud.opacity_logits,
        "log_scales": cloud.log_scales,
        "quaternions": cloud.quaternions,
        "colours": 0.5 + SH_C0 * cloud.sh_dc,
    }
    return {name: torch.tensor(array, dtype=dtype).requires_grad_() for name, array in arrays.items()}


def tiles(leaves: Leaves, camera: Camera) -> Tensor:
    """Ours: image [H, W, 3]."""
    return render_gaussians(GaussianTensors(**leaves), camera, background=WHITE, backend="torch").image


def dense(leaves: Leaves, camera: Camera) -> Tensor:
    """All Gaussians at all pixels, in chunks that stay in the cache; projection is shared with ours."""
    flat = project(leaves["xyz"], leaves["log_scales"], leaves["quaternions"], camera)
    order = torch.argsort(flat.depths, stable=True)
    order = order[flat.visible[order]]
    opacities = leaves["opacity_logits"][order, None].sigmoid()
    means, conics, colours = flat.means[order], flat.conics[order], leaves["colours"][order]
    rows, columns = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    pixels = torch.stack([columns.flatten(), rows.flatten()], dim=1) + 0.5
    parts = []
    for first in range(0, len(pixels), CHUNK):
        weight = composite(means, conics, opacities, pixels[first : first + CHUNK])
        parts.append(weight.T @ colours + (1 - weight.sum(0))[:, None] * torch.tensor(WHITE))
    return torch.cat(parts).view(camera.height, camera.width, 3)


def composite(means: Tensor, conics: Tensor, opacities: Tensor, pixels: Tensor) -> Tensor:
    """Weights [N, P] of Gaussians in order of depth at pixels [P, 2], front to back."""
    dx, dy = (pixels[:, axis] - means[:, axis, None] for axis in (0, 1))
    xx, xy, yy = (column[:, None] for column in conics.unbind(1))
    power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy
    alpha = (opacities * power.exp()).clamp(max=ALPHA_MAX)
    alpha = torch.where(alpha < ALPHA_MIN, 0.0, alpha)
    after = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    return torch.where(after > TRANSMITTANCE_MIN, alpha * before, 0.0)


def twin(leaves: Leaves, camera: Camera) -> Tensor:
    """The tests' reference."""
    return dense_render(**leaves, camera=camera, background=torch.tensor(WHITE, dtype=torch.float64))[0]


def forward(draw: Draw, leaves: Leaves, camera: Camera) -> tuple[Tensor, ...]:
    """A picture without gradients."""
    with torch.no_grad():
        return (draw(leaves, camera),)


def forward_and_backward(draw: Draw, leaves: Leaves, camera: Camera) -> tuple[Tensor, ...]:
    """The gradient of every parameter for a fixed sum of pixels."""
    image = draw(leaves, camera)
    weight = torch.linspace(-1, 1, image.numel(), dtype=image.dtype).view_as(image)
    return torch.autograd.grad((image * weight).sum(), list(leaves.values()))


def check_equal(leaves: Leaves, camera: Camera) -> None:
    """Raises AssertionError when ours and the dense statement disagree: then their times mean nothing."""
    torch.testing.assert_close(forward(tiles, leaves, camera), forward(dense, leaves, camera), rtol=0, atol=1e-4)
    pairs = (forward_and_backward(draw, leaves, camera) for draw in (tiles, dense))
    for ours, theirs in zip(*pairs, strict=True):
        assert (ours - theirs).norm() <= 1e-2 * theirs.norm(), "gradients of tiles and dense statement differ"
