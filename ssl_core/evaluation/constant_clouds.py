"""The best answers that look at no image: what a reconstructor has to beat before it can be said to see anything.

They know the true clouds of the training objects, which a self-supervised reconstructor never does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_core.evaluation.cloud_metrics import unit_cube
from ssl_core.losses.chamfer import chamfer

_CANDIDATES, _COMPARED_POINTS = 64, 192
_STEPS, _BATCH, _RATE = 120, 8, 0.01


@dataclass(frozen=True)
class ConstantClouds:
    """Clouds [N, 3] in the unit cube.

    medoid: the training object that is nearest to all others by CD-L2. mean: the cloud that minimises the mean CD-L2 to
    the training objects: point by point there is no mean, as points of two objects do not correspond.
    """

    medoid: Tensor
    mean: Tensor


def constant_clouds(truth: Tensor, points: int) -> ConstantClouds:
    """From clouds [n, M, 3] of training objects; both answers have `points` points, or M where that is less.

    Deterministic. The medoid is sought among 64 objects evenly spaced; the mean is found from it by 120 steps of Adam
    (Kingma, Ba 2015) on batches of 8 objects.
    """
    cubes = unit_cube(truth)
    medoid = cubes[_medoid(cubes)][:points]
    return ConstantClouds(medoid, _nearest_to_all(medoid, cubes))


def _medoid(cubes: Tensor) -> int:
    count = min(len(cubes), _CANDIDATES)
    some = torch.arange(count) * len(cubes) // count
    thin = cubes[some][:, torch.arange(min(cubes.shape[1], _COMPARED_POINTS))]
    apart = [chamfer(thin[i].expand_as(thin), thin).mean() for i in range(count)]
    return int(some[int(torch.stack(apart).argmin())])


def _nearest_to_all(start: Tensor, cubes: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    cloud = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([cloud], lr=_RATE)
    with torch.enable_grad():
        for step in range(_STEPS):
            for group in optimiser.param_groups:
                group["lr"] = _RATE * (1 - step / _STEPS)
            some = cubes[torch.randint(len(cubes), (min(_BATCH, len(cubes)),), generator=generator)]
            optimiser.zero_grad()
            chamfer(cloud.expand(len(some), -1, -1), some).mean().backward()
            optimiser.step()
    return unit_cube(cloud.detach()[None])[0]
