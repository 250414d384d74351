"""Textured views: exact depth and faces, and one colour a place from wherever it is seen."""

import numpy as np
import pytest

from ssl_core.meshes.furnished_room import furnished, room_mesh
from ssl_core.meshes.surface_patterns import PATTERNS, class_material, pattern_values
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.render.shaded_views import Light, ShadedMesh, shaded_view, surface_points
from ssl_core.scenes.cameras import Camera, intrinsics, look_at


def camera_at(place, target, size: int = 48) -> Camera:
    return Camera(look_at(place, target), intrinsics(size, 70), size, size)


@pytest.fixture(scope="module")
def empty_room() -> tuple[ShadedMesh, np.ndarray]:
    rng = np.random.default_rng(0)
    room = furnished([], rng)
    mesh, instances = room_mesh(room)
    materials = [class_material(number, rng, np.zeros(3), 0.0) for number in range(3)]
    lights = [Light(np.array([0.5, 0.2, 2.2]), np.ones(3), 3.0), Light(np.array([-1.0, 0.2, 2.2]), np.ones(3), 3.0)]
    return ShadedMesh(mesh, instances, materials, lights, 0.3), room.size


def test_within_a_box_depth_is_that_of_the_slab_method(empty_room):
    """Kay and Kajiya 1986. All faces reach behind the camera, so each is clipped."""
    shaded, size = empty_room
    low, high = np.array([*(-size[:2] / 2), 0.0]), np.array([*(size[:2] / 2), size[2]])
    for place, target in (([1.2, 0.3, 1.5], [-0.5, 0.2, 0.9]), ([-1.5, -1.2, 1.3], [1.0, 1.0, 2.0])):
        camera = camera_at(place, target)
        view = shaded_view(shaded, camera)
        rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
        local = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.K).T
        rays = local @ camera.viewmat[:3, :3]
        expected = (np.where(rays > 0, high, low) - camera.position) / rays
        np.testing.assert_allclose(view.depth, expected.min(-1), rtol=1e-4)
        assert (view.alpha == 1).all()
        wall = np.isin(expected.argmin(-1), (0, 1))
        labels = shaded.instances[view.faces]
        assert (labels[wall] == 0).all()
        np.testing.assert_array_equal(labels == 1, ~wall & (rays[..., 2] < 0))
        assert view.rgb.std() > 0.05


def test_a_place_has_one_colour_from_wherever_it_is_seen(empty_room):
    shaded, _ = empty_room
    one, other = camera_at([1.2, 0.3, 1.5], [-0.5, 0.2, 0.9]), camera_at([0.2, 1.4, 1.4], [-0.9, -0.2, 0.8])
    (view,) = render_mesh_views(shaded.mesh, [one], supersample=1)
    points = surface_points(view, one)
    colours = shaded.colours(points, view.face_index[view.face_index >= 0])
    local = points @ other.viewmat[:3, :3].T + other.viewmat[:3, 3]
    pixels = local @ other.K.T
    column, row = np.floor(pixels[:, :2] / pixels[:, 2:]).T
    seen = (local[:, 2] > 0) & (column >= 0) & (column < 48) & (row >= 0) & (row < 48)
    there = shaded_view(shaded, other)
    found = there.rgb[row[seen].astype(int), column[seen].astype(int)]
    assert seen.sum() > 200
    assert np.abs(found - colours[seen]).mean() < 0.06, "a pixel's mean differs a little from its middle"


@pytest.mark.parametrize("pattern", range(PATTERNS))
def test_patterns_stay_within_their_colours_and_differ(pattern):
    places = np.random.default_rng(0).uniform(-9, 9, (500, 3))
    values = pattern_values(pattern, places)
    assert values.shape == (500,)
    assert values.min() >= 0
    assert values.max() <= 1
    others = [pattern_values(other, places) for other in range(PATTERNS) if other != pattern]
    assert max(np.corrcoef(values, other)[0, 1] for other in others) < 0.95
    with pytest.raises(ValueError, match="there are"):
        pattern_values(PATTERNS, places)
