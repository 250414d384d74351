"""Furnished rooms: everything stands on the floor, within the walls, apart from the rest."""

import numpy as np
import pytest

from ssl_core.meshes.furnished_room import (
    GAP,
    SHELL,
    Furniture,
    boxes_overlap,
    clearance,
    furnished,
    room_mesh,
    standing,
)
from ssl_core.meshes.household import CLASSES, household_mesh


@pytest.fixture(scope="module", params=[0, 1, 2])
def room(request):
    rng = np.random.default_rng(request.param)
    return furnished([Furniture(name, name, standing(household_mesh(name, rng), None)) for name in CLASSES[:8]], rng)


def test_objects_stand_on_the_floor_within_the_walls(room):
    assert len(room.objects) >= 5
    for item in room.objects:
        used = item.mesh.triangles().reshape(-1, 3)
        assert abs(used[:, 2].min()) < 1e-4
        assert (np.abs(used[:, :2]) <= room.size[:2] / 2 - GAP + 1e-4).all()
        assert used[:, 2].max() < room.size[2]


def test_boxes_hold_their_objects_and_no_other(room):
    rng = np.random.default_rng(0)
    for item in room.objects:
        cos, sin = np.cos(item.yaw), np.sin(item.yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        local = (item.mesh.triangles().reshape(-1, 3) - item.centre) @ turn
        np.testing.assert_allclose(np.abs(local).max(axis=0), item.size / 2, atol=1e-3)
        inside = item.centre + (rng.uniform(-0.5, 0.5, (400, 3)) * item.size) @ turn.T
        others = [other for other in room.objects if other is not item]
        assert all(clearance(others, place) > 0 for place in inside)
        assert clearance([item], inside[0]) == 0
        assert not any(boxes_overlap(item, other) for other in others)
        assert boxes_overlap(item, item)


def test_faces_know_what_they_are_of(room):
    mesh, instances = room_mesh(room)
    corners = mesh.triangles()
    assert (corners[instances == SHELL.index("floor"), :, 2] == 0).all()
    assert (corners[instances == SHELL.index("ceiling"), :, 2] == np.float32(room.size[2])).all()
    assert instances.max() == len(SHELL) + len(room.objects) - 1
    for number, item in enumerate(room.objects, start=len(SHELL)):
        np.testing.assert_array_equal(corners[instances == number], item.mesh.triangles())


def test_standing_moves_and_scales():
    mesh = household_mesh("chair", np.random.default_rng(3))
    found = standing(mesh, 2.0).triangles().reshape(-1, 3)
    assert np.ptp(found, axis=0).max() == pytest.approx(2.0, rel=1e-5)
    assert found[:, 2].min() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found[:, :2].min(axis=0) + found[:, :2].max(axis=0), 0, atol=1e-5)
