"""Cameras: OpenCV axes, a world with z up, orbits that spread."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import DataError
from ssl_core.scenes.cameras import Camera, intrinsics, look_at, orbit_cameras


def pixel(camera: Camera, point: list[float]) -> np.ndarray:
    """Column, row and depth of a world point."""
    local = camera.viewmat[:3, :3] @ point + camera.viewmat[:3, 3]
    u, v, w = camera.K @ local
    return np.array([u / w, v / w, local[2]])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**31), st.floats(1.1, 50), st.floats(-90, 90), st.floats(-90, 90))
def test_orbit_laws(count: int, seed: int, radius: float, a: float, b: float) -> None:
    low, high = sorted((a, b))
    for camera in orbit_cameras(count, 64, radius=radius, seed=seed, elevations=(low, high)):
        rotation = camera.viewmat[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3)), "rotation"
        assert np.isclose(np.linalg.det(rotation), 1), "right-handed"
        assert np.isclose(np.linalg.norm(camera.position), radius)
        assert np.allclose(pixel(camera, [0, 0, 0]), [32, 32, radius]), "looks at the origin"
        elevation = math.degrees(math.asin(np.clip(camera.position[2] / radius, -1, 1)))
        assert low - 1e-4 <= elevation <= high + 1e-4


def test_up_is_up_and_right_is_right() -> None:
    camera = Camera(look_at([0, -3, 0], [0, 0, 0]), intrinsics(100, 50), 100, 100)
    column, row, depth = pixel(camera, [0.1, 0, 0.2])
    assert column > 50, "the world's +x is on the right for a viewer who looks along +y"
    assert row < 50, "z is up, rows go down"
    assert depth == pytest.approx(3)


@pytest.mark.parametrize("height", [2.0, -2.0])
def test_straight_down_and_up_are_views_too(height: float) -> None:
    view = look_at([0, 0, height], [0, 0, 0])
    assert np.isfinite(view).all()
    assert np.isclose(np.linalg.det(view[:3, :3]), 1)


def test_unit_sphere_is_framed() -> None:
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    sphere = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for camera in orbit_cameras(4, 100, elevations=(-80, 80)):
        local = sphere @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        pixels = (local @ camera.K.T)[:, :2] / local[:, 2:]
        assert pixels.min() > 0
        assert pixels.max() < 100


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_prefixes_are_evenly_spread_in_azimuth(count: int) -> None:
    cameras = orbit_cameras(32, 64, seed=3)[:count]
    azimuths = np.sort([math.atan2(c.position[1], c.position[0]) for c in cameras])
    gaps = np.diff(np.append(azimuths, azimuths[0] + 2 * math.pi))
    assert np.allclose(gaps, 2 * math.pi / count)


def test_elevations_vary() -> None:
    heights = np.sort([c.position[2] / 2.6 for c in orbit_cameras(8, 64)])
    assert (np.diff(heights) > 0.01).all()
    assert heights[-1] - heights[0] > 0.6 * (math.sin(math.radians(50)) - math.sin(math.radians(10)))


def test_seeds_give_other_views_and_the_same_seed_the_same() -> None:
    def positions(seed: int) -> np.ndarray:
        return np.stack([c.position for c in orbit_cameras(8, 64, seed=seed)])

    assert np.array_equal(positions(1), positions(1))
    apart = np.linalg.norm(positions(0)[:, None] - positions(2)[None], axis=-1)
    assert apart.min() > 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"image_size": 0}, {"radius": 0.0}, {"fov_degrees": 180.0}, {"elevations": (50.0, 10.0)}],
)
def test_no_orbit_is_refused(wrong: dict) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        orbit_cameras(**({"count": 4, "image_size": 32} | wrong))


def test_a_camera_in_its_target_is_refused() -> None:
    with pytest.raises(DataError, match="move the camera"):
        look_at([1, 2, 3], [1, 2, 3])
