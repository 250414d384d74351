"""Poses of a grid, moved by gradients."""

import math

import torch

from ssl_core.models.reconstruction import symmetric
from ssl_core.recipes.image_to_points.pose_refinement import Refinement, candidates
from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points, splat_mask

LENS = OrbitLens.of(32, 1.5, 2.0)
ELEVATIONS = (0.1, 0.9)


def chair(generator: torch.Generator) -> torch.Tensor:
    """A seat on one leg with a back at y < 0: symmetric in x."""
    seat = torch.rand(30, 3, generator=generator) * torch.tensor([0.4, 0.8, 0.1]) - torch.tensor([0.4, 0.4, 0.05])
    back = torch.rand(30, 3, generator=generator) * torch.tensor([0.4, 0.1, 0.7]) - torch.tensor([0.4, 0.4, 0.0])
    leg = torch.rand(4, 3, generator=generator) * torch.tensor([0.05, 0.1, 0.6]) - torch.tensor([0.05, 0.05, 0.6])
    return symmetric(torch.cat((seat, back, leg)), "x")


def silhouettes(clouds: torch.Tensor, poses: torch.Tensor) -> torch.Tensor:
    seen = project_points(clouds, orbit_rotation(*poses.unbind(1)), LENS)
    return splat_mask(seen, LENS.size, 1.0)


def off(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Of azimuths, in degrees."""
    return torch.rad2deg((torch.remainder(ours - theirs + math.pi, 2 * math.pi) - math.pi).abs())


def test_candidates_are_the_best_that_are_apart() -> None:
    grid = torch.tensor([[math.radians(angle), 0.3] for angle in (-178, -90, 0, 10, 90, 178)])
    errors = torch.tensor([[1.0, 4.0, 3.0, 2.9, 5.0, 1.1]])
    found = torch.rad2deg(candidates(errors, grid, 3, 2 * math.pi)[0, :, 0])
    # 178 is four degrees from -178, and 0 ten from 10
    assert torch.allclose(found, torch.tensor([-178.0, 10.0, -90.0]))
    half_turn = torch.rad2deg(candidates(errors, grid, 2, math.pi)[0, :, 0])
    assert torch.allclose(half_turn, torch.tensor([-178.0, -90.0])), "0 and 10 look as -178 does"


def test_poses_sizes_and_the_side_are_found() -> None:
    """From poses 20 degrees off, or 90 and 20, of objects that are wider and lower than the shape."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    count, shape = 24, chair(generator)
    azimuth = (torch.rand(count, generator=generator) * 2 - 1) * math.pi
    truth = torch.stack((azimuth, 0.3 + 0.4 * torch.rand(count, generator=generator)), dim=1)
    sizes = torch.exp(0.15 * torch.randn(count, 3, generator=generator))
    masks = silhouettes(shape * sizes[:, None], truth)
    wrong, near = truth + torch.tensor([math.radians(110), 0.0]), truth + torch.tensor([math.radians(20), 0.1])
    refinement = Refinement(masks, 0.25, "x", ELEVATIONS, LENS)
    found = refinement.run(shape, torch.stack((wrong, near), dim=1), steps=40)
    assert off(found.poses[:, 0], azimuth).median() < 6
    log_sizes, log_truth = found.sizes.log(), sizes.log() - sizes.log().mean(0)
    seen = torch.corrcoef(torch.stack((log_sizes.flatten(), log_truth.flatten())))[0, 1]
    assert seen > 0.6, float(seen)
    again = refinement.run(shape, torch.stack((wrong, near), dim=1), steps=40)
    assert torch.equal(found.poses, again.poses)
    assert torch.equal(found.template, symmetric(found.template[:64], "x"))


def test_without_steps_the_first_poses_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    shape, poses = chair(generator), torch.tensor([[[0.3, 0.4], [2.0, 0.5]]])
    found = Refinement(torch.ones(1, 32, 32), 0.25, "x", ELEVATIONS, LENS).run(shape, poses, steps=0)
    assert torch.equal(found.poses, poses[:, 0])
    assert torch.equal(found.template, shape)
    assert torch.equal(found.sizes, torch.ones(1, 3))
