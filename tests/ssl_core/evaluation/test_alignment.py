"""One rotation for a set of clouds: found within two degrees, from the other side of a cube, mirror images told."""

import math

import numpy as np
import pytest
import torch

from ssl_core.evaluation.alignment import cube_rotations, fit_rotation, nearest_rotation, rotation_angle
from tests.reference.single_view_pack import shape

torch.set_num_threads(1)


def clouds(objects: int, points: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    made = [shape(("low", "tall")[i % 2], rng, points)[0] for i in range(objects)]
    return torch.from_numpy(np.stack(made)).float()


def test_the_cube_has_24_rotations():
    found = cube_rotations()
    assert len(found) == 24
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand(24, 3, 3))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(24))
    assert torch.equal(found[0], torch.eye(3))
    assert len({tuple(each.flatten().tolist()) for each in found}) == 24


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_known_rotation_is_recovered_within_two_degrees_from_other_points_of_another_size(seed):
    both = clouds(6, 512)
    turn = nearest_rotation(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
    found = fit_rotation(2.5 * both[:, :256] @ turn.T, both[:, 256:], look_for_mirror=seed == 0)
    assert math.degrees(rotation_angle(found.rotation, turn.T)) < 2
    assert not found.is_mirrored
    assert found.scale == pytest.approx(1 / 2.5, rel=0.05)
    warm = fit_rotation(both[:, :256] @ turn.T, both[:, 256:], found.rotation[None])
    assert math.degrees(rotation_angle(warm.rotation, turn.T)) < 2


def test_mirror_images_are_told_and_not_mended():
    both = clouds(6, 256)
    found = fit_rotation(both * torch.tensor([1.0, -1.0, 1.0]), both, look_for_mirror=True)
    assert found.is_mirrored
    assert torch.linalg.det(found.rotation) == pytest.approx(1, abs=1e-4)
