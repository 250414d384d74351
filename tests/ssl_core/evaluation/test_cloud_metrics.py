"""Distances of clouds against brute force, and the truth against itself: the sampling floor."""

import itertools

import numpy as np
import pytest
import torch

from ssl_core.evaluation.cloud_metrics import cloud_distances, earth_mover, sampling_floor, unit_cube

torch.set_num_threads(1)


def plane(points: int, seed: int, copies: int = 4) -> torch.Tensor:
    """Uniform samples of a unit square in space."""
    flat = torch.rand((copies, points, 2), generator=torch.Generator().manual_seed(seed))
    return torch.cat((flat, torch.zeros(copies, points, 1)), dim=2)


def test_distances_are_those_of_brute_force():
    a, b = plane(30, 0), plane(40, 1) + 0.1
    apart = np.sqrt(((a.numpy()[:, :, None].astype(np.float64) - b.numpy()[:, None]) ** 2).sum(-1))
    there, back = apart.min(2), apart.min(1)
    for index, found in enumerate(cloud_distances(a, b)):
        assert found.cd_l1 == pytest.approx(there[index].mean() + back[index].mean(), abs=1e-6)
        assert found.cd_l2 == pytest.approx((there[index] ** 2).mean() + (back[index] ** 2).mean(), abs=1e-6)
    near = torch.cat((b[:, :20], b[:, :20] + 5), dim=1)
    recall = np.mean(np.sqrt(((near.numpy()[0, None] - b.numpy()[0, :, None]) ** 2).sum(-1)).min(1) < 0.01)
    assert cloud_distances(near, b)[0].f_1 == pytest.approx(2 * 0.5 * recall / (0.5 + recall), abs=1e-6)
    assert cloud_distances(b, b)[0].f_1 == 1


def test_two_samples_of_one_surface_are_as_far_apart_as_theory_says():
    points = 2048
    found = np.mean([each.cd_l2 for each in cloud_distances(plane(points, 3), plane(points, 4))])
    assert found == pytest.approx(sampling_floor(1.0, points), rel=0.15)


def test_the_earth_mover_s_distance_is_the_least_over_all_matchings_and_no_less_than_half_of_chamfer():
    a, b = plane(6, 5)[0], plane(6, 6)[0]
    apart = torch.cdist(a.double(), b.double())
    least = min(apart[range(6), order].mean().item() for order in itertools.permutations(range(6)))
    assert earth_mover(a, b) == pytest.approx(least)
    assert earth_mover(a, b) >= apart.min(1).values.mean().item() - 1e-9
    assert earth_mover(a, a) == 0


def test_the_cube_is_the_box_s_longest_side_and_single_strays_do_not_shrink_it():
    cloud = torch.rand((1, 100, 3), generator=torch.Generator().manual_seed(0)) * torch.tensor([4.0, 2.0, 1.0]) - 2
    found = unit_cube(cloud)[0]
    sides = found.amax(0) - found.amin(0)
    assert sides.max() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found.amax(0), -found.amin(0), atol=1e-5, rtol=0)
    stray = torch.cat((cloud, torch.full((1, 1, 3), 50.0)), dim=1)
    assert (unit_cube(stray, reach=2.0)[0, :-1] - found).abs().max() < 0.4
    assert unit_cube(stray)[0, :-1].std() < 0.2 * found.std()
