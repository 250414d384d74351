"""Depth of Gaussian clouds and what it leaves visible: laws, a plain twin, and a mesh's own depth."""

import numpy as np
import pytest

from ssl_core.meshes.household import household_mesh
from ssl_core.render.gaussian_depth import (
    Ellipsoids,
    depth_map,
    pixels_in,
    projected,
    projection_matrix,
    visible,
)
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.scenes.cameras import Camera, intrinsics, look_at, orbit_cameras
from ssl_core.splatting.surface_init import surface_gaussians
from tests.reference.pairs import plain_depth_map, plain_visible


def camera_at(eye: tuple[float, float, float], size: int = 32) -> Camera:
    return Camera(look_at(eye, np.zeros(3)), intrinsics(size, 50), size, size)


def some_ellipsoids(count: int = 25, seed: int = 0) -> Ellipsoids:
    rng = np.random.default_rng(seed)
    log_scales = rng.normal(-2.5, 0.7, (count, 3))
    return Ellipsoids.of_gaussians(rng.uniform(-1, 1, (count, 3)), log_scales, rng.normal(size=(count, 4)))


def plane(count: int = 400, z: float = 0.0, seed: int = 0) -> Ellipsoids:
    """Discs that lie in a horizontal square without holes."""
    side = round(count**0.5)
    grid = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) + 0.5) / side * 2 - 1
    centres = np.concatenate([grid, np.full((len(grid), 1), z)], axis=1)
    scales = np.log([1.0 / side, 1.0 / side, 1e-3]) * np.ones((len(grid), 1))
    return Ellipsoids.of_gaussians(centres, scales, np.tile([1.0, 0, 0, 0], (len(grid), 1)))


def test_a_pixel_at_its_depth_is_projected_onto_itself() -> None:
    camera = orbit_cameras(3, 24)[2]
    depth = depth_map(some_ellipsoids(), camera, 2.0)
    row, column = np.nonzero(np.isfinite(depth))
    z = depth[row, column]
    local = np.linalg.inv(camera.K) @ np.stack([column + 0.5, row + 0.5, np.ones(len(row))]) * z
    world = (camera.viewmat[:3, :3].T @ (local - camera.viewmat[:3, 3:])).T
    x, y, back = projected(projection_matrix(camera), world)
    inside, rows, columns = pixels_in(x, y, 24, 24)
    assert inside.all()
    np.testing.assert_array_equal(rows, row)
    np.testing.assert_array_equal(columns, column)
    np.testing.assert_allclose(back, z, rtol=1e-12)
    assert visible(world, camera, depth, 1e-9).all()
    away = world + 0.1 * (world - camera.position) / np.linalg.norm(world - camera.position, axis=1, keepdims=True)
    assert not visible(away, camera, depth, 0.02).any()


@pytest.mark.parametrize("extent", [0.01, 2.0])
def test_the_fast_way_equals_the_plain_loops_to_the_bit(extent: float) -> None:
    ellipsoids, rng = some_ellipsoids(), np.random.default_rng(1)
    points = np.concatenate([ellipsoids.centres, rng.uniform(-3, 3, (60, 3))])
    cameras = [*orbit_cameras(2, 20), camera_at((0.4, 0.1, 0.3), 20), camera_at((0, 0, 5), 20)]
    for camera in cameras:  # of which one stands amid the Gaussians
        depth = depth_map(ellipsoids, camera, extent)
        np.testing.assert_array_equal(depth, plain_depth_map(ellipsoids, camera, extent))
        found = visible(points, camera, depth, 0.03)
        np.testing.assert_array_equal(found, plain_visible(points, camera, depth, 0.03))
        assert 0 < found.sum() < len(points)


def test_parts_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, ellipsoids = orbit_cameras(1, 32)[0], some_ellipsoids(200)
    whole = depth_map(ellipsoids, camera, 2.0)
    monkeypatch.setattr("ssl_core.render.gaussian_depth._AT_ONCE", 50)
    np.testing.assert_array_equal(depth_map(ellipsoids, camera, 2.0), whole)


def test_a_single_plane_is_wholly_visible_and_has_its_exact_depth() -> None:
    ellipsoids, camera = plane(), camera_at((0.0, -1.2, 2.4))
    depth = depth_map(ellipsoids, camera, 2.0)
    assert visible(ellipsoids.centres, camera, depth, 0.05).all()
    row, column = np.nonzero(np.isfinite(depth))
    local = np.linalg.inv(camera.K) @ np.stack([column + 0.5, row + 0.5, np.ones(len(row))]) * depth[row, column]
    heights = (camera.viewmat[:3, :3].T @ (local - camera.viewmat[:3, 3:]))[2]
    assert np.median(np.abs(heights)) < 1e-4
    assert np.abs(heights).max() < 0.05  # pixels at a centre's depth: half a pixel's width times the slope


def test_what_lies_behind_a_surface_is_hidden_and_what_lies_on_it_is_not() -> None:
    front, behind = plane(z=0.5), plane(z=-0.5).centres * (0.5, 0.5, 1)
    twice = (np.concatenate([part, part]) for part in (front.rotations, front.deviations))
    both = Ellipsoids(np.concatenate([front.centres, behind]), *twice)
    camera = camera_at((0.0, 0.0, 3.0))
    depth = depth_map(both, camera, 2.0)
    assert visible(front.centres, camera, depth, 0.02).all()
    assert not visible(behind, camera, depth, 0.02).any()
    assert visible(behind, camera_at((0.0, 0.1, -3.0)), depth_map(both, camera_at((0.0, 0.1, -3.0)), 2.0), 0.02).all()


def test_balls_hide_like_round_gaussians() -> None:
    rng = np.random.default_rng(3)
    centres = rng.uniform(-1, 1, (30, 3))
    camera = orbit_cameras(1, 24)[0]
    round_ones = Ellipsoids.of_gaussians(centres, np.full((30, 3), np.log(0.1)), rng.normal(size=(30, 4)))
    balls = depth_map(Ellipsoids.balls(centres, 0.1), camera, 1.0)
    np.testing.assert_allclose(balls, depth_map(round_ones, camera, 1.0), rtol=1e-9)


@pytest.mark.parametrize("class_name", ["chair", "table", "bathtub"])
def test_it_agrees_with_the_depth_of_the_mesh(class_name: str) -> None:
    mesh = household_mesh(class_name, np.random.default_rng(0)).normalised()
    cameras = orbit_cameras(4, 96)
    views = render_mesh_views(mesh, cameras)
    cloud = surface_gaussians(mesh, cameras, views, 1500, np.random.default_rng(1))
    ellipsoids = Ellipsoids.of_gaussians(
        *(np.asarray(part, np.float64) for part in (cloud.xyz, cloud.log_scales, cloud.quaternions))
    )
    right = wrong = missed = 0
    for camera, view in zip(cameras, views, strict=True):
        own = view.depth.astype(np.float64)
        found = visible(ellipsoids.centres, camera, depth_map(ellipsoids, camera, 2.0), 0.03)
        true, nearly = (visible(ellipsoids.centres, camera, own, eps) for eps in (0.03, 0.06))
        right += (found & true).sum()
        wrong += (found & ~nearly).sum()
        missed += (~found & true).sum()
    assert wrong < 0.04 * right, (right, wrong, missed)
    assert missed < 0.15 * right, (right, wrong, missed)
