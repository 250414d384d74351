"""Rooms furnished with meshes: a box of floor, ceiling and walls, and objects that stand in it without touching."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl_core.meshes.household_parts import combined
from ssl_core.meshes.mesh import GREY, Mesh

Floats = NDArray[np.float64]

SHELL = ("wall", "floor", "ceiling")
"""The first classes of every room; those of objects follow."""
SIZES = {
    "bathtub": 1.6, "bed": 2.0, "chair": 0.95, "desk": 1.4, "dresser": 1.2, "monitor": 0.7, "night_stand": 0.65,
    "sofa": 1.9, "table": 1.5, "toilet": 0.8,
}  # fmt: skip
"""Longest side in metres of objects whose files say no unit; others are 1 m."""
GAP = 0.12
"""Metres between an object and the next, or a wall, at least."""

_TRIES = 120


@dataclass(frozen=True, eq=False)
class Furniture:
    """An object before it has a place: a mesh about the z axis, standing on z = 0, metres."""

    class_name: str
    name: str
    mesh: Mesh


@dataclass(frozen=True, eq=False)
class Placed:
    """An object in a room. Its box stands upright, its own x axis turned by `yaw` radians about z."""

    class_name: str
    name: str
    mesh: Mesh  # in the room's coordinates
    centre: Floats  # [3] of the box
    size: Floats  # [3] of the box along its own axes
    yaw: float


@dataclass(frozen=True, eq=False)
class Room:
    """Metres, z up; the middle of the floor is the origin, walls lie along x and y."""

    size: Floats  # [3]
    objects: tuple[Placed, ...]


def standing(mesh: Mesh, longest: float | None) -> Mesh:
    """The mesh about the z axis, standing on z = 0; scaled so that its box's longest side is `longest`, unless None."""
    used = mesh.triangles().reshape(-1, 3)
    low, high = used.min(axis=0), used.max(axis=0)
    scale = 1.0 if longest is None else longest / float((high - low).max())
    foot = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return Mesh(((mesh.vertices - foot) * scale).astype(np.float32), mesh.faces, mesh.face_colours)


def furnished(furniture: Sequence[Furniture], rng: np.random.Generator) -> Room:
    """A room of random size with as many of these objects, in order, as find a place in it.

    Objects are turned by about a multiple of 90 degrees, as furniture is, and keep GAP from each other and the walls.
    """
    size = rng.uniform((4.2, 4.2, 2.5), (6.5, 6.5, 3.1))
    placed: list[Placed] = []
    for item in furniture:
        for _ in range(_TRIES):
            found = _placed_at_random(item, size, rng)
            if found is not None and not any(boxes_overlap(found, other, GAP) for other in placed):
                placed.append(found)
                break
    return Room(size, tuple(placed))


def _placed_at_random(item: Furniture, size: Floats, rng: np.random.Generator) -> Placed | None:
    """The object somewhere; None where it would reach through a wall or the ceiling."""
    used = item.mesh.triangles().reshape(-1, 3)
    low, high = used.min(axis=0), used.max(axis=0)
    extent = high - low
    yaw = float(rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12))
    turn = _turn(yaw)
    reach = np.abs(turn[:2, :2]) @ extent[:2] / 2  # half the sides of the upright box around the turned one
    free = size[:2] / 2 - GAP - reach
    if (free <= 0).any() or extent[2] > size[2] - GAP:
        return None
    place = np.array([*rng.uniform(-free, free), 0.0])
    middle = np.array([*(low[:2] + high[:2]) / 2, low[2]])
    vertices = ((item.mesh.vertices - middle) @ turn.T + place).astype(np.float32)
    centre = np.array([place[0], place[1], extent[2] / 2])
    mesh = Mesh(vertices, item.mesh.faces, item.mesh.face_colours)
    return Placed(item.class_name, item.name, mesh, centre, extent, yaw)


def boxes_overlap(one: Placed, other: Placed, gap: float = 0.0) -> bool:
    """Whether the footprints come nearer than about `gap`: by the separating axes of two rectangles, each grown by half
    of it."""
    axes = np.concatenate([_turn(one.yaw)[:2, :2].T, _turn(other.yaw)[:2, :2].T])
    apart = np.abs(axes @ (one.centre - other.centre)[:2])
    reach = [np.abs(axes @ _turn(box.yaw)[:2, :2]) @ (box.size[:2] / 2 + gap / 2) for box in (one, other)]
    return bool((apart < reach[0] + reach[1]).all())


def clearance(objects: Sequence[Placed], place: Floats) -> float:
    """Distance of a place [3] from the nearest of the boxes; 0 within one, infinite without any."""
    best = np.inf
    for box in objects:
        local = _turn(box.yaw).T @ (place - box.centre)
        outside = np.maximum(np.abs(local) - box.size / 2, 0.0)
        best = min(best, float(np.linalg.norm(outside)))
    return best


def room_mesh(room: Room) -> tuple[Mesh, NDArray[np.int64]]:
    """Everything as one mesh, and the instance of each face [F]: 0 wall, 1 floor, 2 ceiling, then the objects."""
    shell = _shell(room.size)
    instances = [np.repeat([1, 2, 0], (2, 2, 8))]
    instances += [np.full(len(item.mesh.faces), number) for number, item in enumerate(room.objects, start=len(SHELL))]
    return combined([shell, *(item.mesh for item in room.objects)]), np.concatenate(instances)


def _shell(size: Floats) -> Mesh:
    """Floor, ceiling and four walls, two triangles each."""
    x, y, z = size[0] / 2, size[1] / 2, size[2]
    corners = np.array([[i, j, k] for k in (0.0, z) for i, j in ((-x, -y), (x, -y), (x, y), (-x, y))])
    quads = [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    faces = np.array([half for a, b, c, d in quads for half in ((a, b, c), (a, c, d))])
    return Mesh(corners.astype(np.float32), faces, np.full((len(faces), 3), GREY, np.float32))


def _turn(yaw: float) -> Floats:
    """[3, 3] object -> room."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
