"""Disturbed inputs: what a disturbed object would have given, and the laws of rotations."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_core.contracts import FeatureGroup, PointsContract
from ssl_core.data.pack_arrays import COLUMNS
from ssl_core.data.point_columns import assemble
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.rotations import random_rotations, rotation_matrices, sh_rotations, times
from ssl_core.evaluation.sections.robustness import (
    DroppedPoints,
    FewerViews,
    Jitter,
    MissingPart,
    Turn,
    disturb,
    fewer_views,
    light_disturbances,
    standard_disturbances,
    turned,
)
from ssl_core.render.spherical_harmonics import sh_basis

GROUPS: tuple[FeatureGroup, ...] = (
    "xyz",
    "opacity",
    "scale",
    "rotation",
    "sh_dc",
    "sh_rest",
    "normals",
    "normal_tensor",
    "covariance",
)
ALL = PointsContract(features=GROUPS, num_points=40)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(objects: int = 3, points: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(objects, points, 59)).astype(np.float32)
    found[..., COLUMNS["rotation"]] *= rng.uniform(0.5, 2, (objects, points, 1))
    return found


def turned_rows(raw: np.ndarray, quaternions: Tensor) -> np.ndarray:
    """The Gaussians themselves turned, plainly: one object at a time."""
    out = raw.copy()
    for place, q in enumerate(quaternions.numpy()):
        matrix = rotation_matrices(torch.from_numpy(q)).numpy()
        out[place, :, COLUMNS["xyz"]] = raw[place, :, COLUMNS["xyz"]] @ matrix.T
        w, v = q[0], q[1:]
        scalar, vector = raw[place, :, 7], raw[place, :, 8:11]
        out[place, :, 7] = w * scalar - vector @ v
        out[place, :, 8:11] = w * vector + scalar[:, None] * v + np.cross(v, vector)
    return out


@pytest.mark.parametrize("standardise", [True, False])
def test_turned_input_is_the_input_of_turned_gaussians(standardise):
    groups: tuple[FeatureGroup, ...] = ("xyz", "opacity", "scale", "rotation", "sh_dc", "normals", "covariance")
    contract = PointsContract(features=groups, num_points=40, standardise_attributes=standardise)
    raw = rows()
    quaternions = random_rotations(3, 180.0, "any", generator())
    found = turned(torch.from_numpy(assemble(raw, contract)), contract, quaternions)
    expected = assemble(turned_rows(raw, quaternions), contract)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_turned_harmonics_show_the_old_colour_in_the_new_direction():
    raw = rows(objects=4)
    quaternions = random_rotations(4, 180.0, "any", generator(1))
    contract = PointsContract(features=("xyz", "sh_rest"), num_points=40)
    points = torch.from_numpy(assemble(raw, contract))
    found = turned(points, contract, quaternions)
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator(2)), dim=-1)
    before, after = (x[..., 3:].unflatten(-1, (3, 15)) for x in (points, found))
    for place, matrix in enumerate(rotation_matrices(quaternions).float()):
        seen = torch.einsum("dk,nck->dnc", sh_basis(directions @ matrix.T, 16)[:, 1:], after[place])
        was = torch.einsum("dk,nck->dnc", sh_basis(directions, 16)[:, 1:], before[place])
        torch.testing.assert_close(seen, was, rtol=1e-4, atol=1e-4)


def test_rotations_of_harmonics_are_rotations_and_compose():
    a, b = (random_rotations(5, 180.0, "any", generator(seed)) for seed in (3, 4))
    first, second = sh_rotations(a), sh_rotations(b)
    torch.testing.assert_close(first @ first.mT, torch.eye(15, dtype=torch.float64).expand(5, 15, 15))
    torch.testing.assert_close(sh_rotations(times(a, b)), first @ second)
    torch.testing.assert_close(rotation_matrices(times(a, b)), rotation_matrices(a) @ rotation_matrices(b))


def test_colours_whose_harmonics_are_cut_are_not_turned():
    contract = PointsContract(features=("xyz", "reference_color"), num_points=40)
    points = torch.from_numpy(assemble(rows(), contract))
    with pytest.raises(InfeasibleError, match="reference_color"):
        disturb(points, contract, Turn(degrees=10), generator())
    assert disturb(points, contract, Jitter(sd=0.1), generator()).shape == points.shape


@pytest.mark.parametrize("degrees", [10.0, 90.0, 180.0])
def test_no_rotation_exceeds_its_angle_and_none_is_preferred(degrees):
    q = random_rotations(20_000, degrees, "any", generator())
    angle = 2 * q[:, 0].clamp(-1, 1).arccos()
    assert angle.max() <= math.radians(degrees) + 1e-9
    torch.testing.assert_close(q.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
    limit = math.radians(degrees)
    half = limit / 2
    expected = (half - math.sin(half)) / (limit - math.sin(limit))  # density 1 - cos
    assert abs(float((angle < half).double().mean()) - expected) < 0.015
    axis = q[:, 1:].mean(dim=0) / q[:, 1:].norm(dim=1).mean()
    assert axis.abs().max() < 0.03
    if degrees == 180.0:  # uniform on SO(3): the mean matrix vanishes
        assert rotation_matrices(q).mean(dim=0).abs().max() < 0.02


def test_about_up_the_z_axis_stays():
    q = random_rotations(2000, 30.0, "up", generator())
    matrices = rotation_matrices(q)
    torch.testing.assert_close(matrices[:, :, 2], torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(2000, 3))
    angle = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    assert angle.abs().max() <= 30.0 + 1e-6
    assert angle.min() < -28
    assert angle.max() > 28


def test_dropped_points_are_the_clouds_own_and_enough_are_left():
    points = torch.from_numpy(assemble(rows(points=40), ALL))
    found = disturb(points, ALL, DroppedPoints(share=0.75), generator())
    assert found.shape == points.shape
    for before, after in zip(points, found, strict=True):
        assert len(after.unique(dim=0)) == 10
        torch.testing.assert_close(after[:10], after[10:20])
        # colours are untouched, so they tell which point each one was
        places = [(before[:, 14:17] == row).all(dim=1).nonzero().item() for row in after[:10, 14:17]]
        assert places == sorted(set(places))


def test_positions_are_normalised_again_and_scales_follow():
    points = torch.from_numpy(assemble(rows(), ALL))
    for disturbance in (DroppedPoints(share=0.5), Jitter(sd=0.1), Turn(degrees=180)):
        xyz = disturb(points, ALL, disturbance, generator())[..., :3]
        torch.testing.assert_close(xyz.mean(dim=1), torch.zeros(3, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(xyz.norm(dim=-1).amax(dim=1), torch.ones(3))
    found = disturb(points, ALL, Jitter(sd=0.1), generator())
    shift = (found - points)[..., 4:7]
    torch.testing.assert_close(shift, shift[:, :1, :1].expand_as(shift), atol=1e-5, rtol=0)
    assert (found[..., 11:-6] == points[..., 11:-6]).all()
    torch.testing.assert_close((found - points)[..., -6:-3], shift / 4, atol=1e-5, rtol=0)
    assert (found[..., -3:] == points[..., -3:]).all()


def test_jitter_has_the_size_that_it_says():
    contract = PointsContract(num_points=2000)
    points = torch.from_numpy(assemble(rows(2, 2000), contract))
    found = disturb(points, contract, Jitter(sd=0.05), generator())
    for before, after in zip(points, found, strict=True):
        scale = float((before * after).sum() / (before * before).sum())
        residual = after / scale - before
        assert abs(float((residual - residual.mean(dim=0)).std()) - 0.05) < 0.005


def test_the_generator_decides_and_the_input_stays():
    points = torch.from_numpy(assemble(rows(), ALL))
    before = points.clone()
    for disturbance in (DroppedPoints(share=0.5), Jitter(sd=0.1), Turn(degrees=45, about="up"), Turn(degrees=45)):
        first, again, other = (disturb(points, ALL, disturbance, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(points, before)


def test_fewer_views_are_some_of_each_objects_own():
    features = np.arange(6 * 5 * 2, dtype=np.float32).reshape(6, 5, 2)
    found = fewer_views(features, FewerViews(views=2), np.random.default_rng(0))
    assert found.shape == (6, 2, 2)
    for own, kept in zip(features, found, strict=True):
        places = [int(np.flatnonzero((own == row).all(axis=1))[0]) for row in kept]
        assert places == sorted(set(places))
    assert (fewer_views(features, FewerViews(views=5), np.random.default_rng(0)) == features).all()


def test_names_are_distinct():
    for levels in (standard_disturbances(), light_disturbances()):
        assert len({level.name for level in levels}) == len(levels)


def test_a_missing_part_is_one_side_of_the_object():
    """A plane separates what is left from what is missing, and every object has its own."""
    contract = PointsContract(num_points=40)
    raw = torch.from_numpy(assemble(rows(), contract))
    found = disturb(raw, contract, MissingPart(share=0.55), generator())
    normals = torch.randn(3, 3, 1, generator=generator())
    ranks = (raw @ normals).squeeze(-1)
    for cloud, rank, left in zip(raw, ranks, found, strict=True):
        expected = cloud[rank.argsort()[:18].sort().values]
        expected = expected[torch.arange(40) % 18]
        expected = expected - expected.mean(dim=0)
        expected = expected / expected.norm(dim=-1).max()
        torch.testing.assert_close(left, expected)
