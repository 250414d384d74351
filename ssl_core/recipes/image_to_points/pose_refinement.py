"""Poses that were found on a grid, moved by gradients together with the sizes of each object and the one shape.

One shape of one size fits a wide chair best from a wrong side. Here each image stretches it along its three axes at a
price, and follows several of its best poses, the worse half of them for a third of the steps; the shape moves with
those that fit. On chairs of ModelNet10 the median error of poses falls from 16 to 11 degrees (docs/LOG.md).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_core.losses.dispersion import dispersion
from ssl_core.losses.silhouette import chamfer_2d
from ssl_core.models.reconstruction import Mirror, copies, symmetric
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points
from ssl_core.training.stage_progress import tell_stage

AFFINITY, DISPERSION = 800.0, 0.1
"""Weights of outlines and of the shape's points against each other."""
_APART = math.radians(25)
"""between the azimuths of two poses that are followed"""
_STRETCH, _OUTSIDE = 3.0, 50.0
"""prices of squared logarithms of sizes, and of elevations beyond their range"""
_RATES = (0.03, 0.03, 0.01)  # of poses, sizes, shape
_LEAST_RATE = 0.02
_ALL_FOLLOWED = 1 / 3
"""of the steps"""
_SHARP, _SHARPEST, _SHARP_FROM = 0.5, 0.02, 0.7
"""of the share that a pose has in the shape: its error against this share of the mean one"""
_AT_ONCE = 100


@dataclass(frozen=True)
class Refined:
    """What came out."""

    template: Tensor  # [M, 3]
    poses: Tensor  # [n, 2] the best of each image
    sizes: Tensor  # [n, 3] factors on the template's axes


def candidates(errors: Tensor, grid: Tensor, count: int, period: float) -> Tensor:
    """[n, count, 2] the best poses of each image, from errors [n, K] of poses [K, 2], whose azimuths are apart.

    Args:
        period: in radians, after which azimuths show the same.
    """
    left, found = errors.clone(), []
    for _ in range(count):
        best = grid[left.argmin(dim=1)]
        found.append(best)
        off = torch.remainder(grid[None, :, 0] - best[:, None, 0] + period / 2, period) - period / 2
        left = torch.where(off.abs() < _APART, torch.inf, left)
    return torch.stack(found, dim=1)


@dataclass(frozen=True)
class Refinement:
    """One shape, and some poses of each image, under gradients.

    Args:
        masks: [n, S, S] in [0, 1].
        covered: share of a pixel above which it belongs to the silhouette.
        mirror: the shape's planes of symmetry.
        elevations: range in radians.
        lens: of pictures of S pixels.
    """

    masks: Tensor
    covered: float
    mirror: Mirror
    elevations: tuple[float, float]
    lens: OrbitLens

    def run(self, template: Tensor, poses: Tensor, steps: int) -> Refined:
        """From a template [M, 3] and poses [n, H, 2]. Deterministic."""
        part = template[: len(template) // copies(self.mirror)].clone().requires_grad_()
        count, followed = poses.shape[:2]
        all_of_them = math.ceil(steps * _ALL_FOLLOWED)
        tried = [poses.clone().requires_grad_(), torch.zeros(count, followed, 3, requires_grad=True)]
        cost = torch.zeros(count, followed)
        optimiser = _adam(tried, part)
        for step in range(steps):
            if step == all_of_them and followed > 1:
                best = cost.topk(-(-followed // 2), dim=1, largest=False).indices
                cost = cost.gather(1, best)
                tried = [_picked(each, best).requires_grad_() for each in tried]
                optimiser = _adam(tried, part)
            tell_stage(step, steps, "steps of refinement")
            done = step / steps
            for group, rate in zip(optimiser.param_groups, _RATES, strict=True):
                group["lr"] = rate * (_LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * done)))
            optimiser.zero_grad()
            cost = self._backward(part, tried, cost, max(_SHARPEST, _SHARP * (1 - done / _SHARP_FROM)))
            optimiser.step()
            with torch.no_grad():
                tried[1] -= tried[1].mean(dim=(0, 1))  # the shape itself has the mean size
        best = cost.argmin(dim=1, keepdim=True)
        found, sizes = (_picked(each, best)[:, 0] for each in tried)
        return Refined(symmetric(part.detach(), self.mirror), found, sizes.exp())

    def _backward(self, part: Tensor, tried: list[Tensor], before: Tensor, sharp: float) -> Tensor:
        """Gradients of all, and the cost [n, H] of poses [n, H, 2] and sizes [n, H, 3]. `before`: of the last step."""
        costs, count = [], len(self.masks)
        share = torch.softmax(-before / (sharp * before.mean() + 1e-9), dim=1)
        for some in torch.arange(count).split(_AT_ONCE):
            whole = symmetric(part, self.mirror)
            cost = self._cost(whole, tried[0][some], tried[1][some], share[some], some)
            # each pose moves by its own error
            (cost.sum() + DISPERSION * len(some) * dispersion(whole[None]).mean()).backward()
            costs.append(cost.detach())
        assert part.grad is not None
        part.grad /= count
        return torch.cat(costs)

    def _cost(self, whole: Tensor, poses: Tensor, sizes: Tensor, share: Tensor, some: Tensor) -> Tensor:
        """[b, H]. The shape feels a pose by its share [b, H]."""
        followed, felt = poses.shape[1], share[..., None, None]
        template = whole * felt + (whole * (1 - felt)).detach()
        points = (template * sizes.exp()[:, :, None]).flatten(0, 1)
        seen = project_points(points, orbit_rotation(*poses.flatten(0, 1).unbind(1)), self.lens)
        silhouettes = self.masks[some].repeat_interleave(followed, dim=0)
        apart = chamfer_2d(seen.rows, seen.cols, silhouettes, squared=True, threshold=self.covered)
        low, high = self.elevations
        outside = torch.relu(poses[..., 1] - high) + torch.relu(low - poses[..., 1])
        cost: Tensor = AFFINITY * apart.unflatten(0, (-1, followed)) + _STRETCH * sizes.square().sum(-1)
        return cost + _OUTSIDE * outside


def _adam(tried: list[Tensor], part: Tensor) -> torch.optim.Adam:
    return torch.optim.Adam([{"params": [each]} for each in (*tried, part)])


def _picked(values: Tensor, which: Tensor) -> Tensor:
    """[n, K, d] of values [n, H, d]."""
    return values.detach().gather(1, which[..., None].expand(-1, -1, values.shape[2]))
