"""Procedural rooms furnished with meshes, written as real captures lie on disk: data with an exact truth for scenes.

<out>/rooms.json          settings
<out>/scenes.json         split of each room; `splatsweep pack --scene <out>` packs them all
<out>/room_000/           a scene (`scene_folder`), and boxes.json: class, centre, size [m] and yaw [rad] of each object
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.config import Config
from ssl_core.data.scene_pack import ScenePackConfig
from ssl_core.errors import LayoutError
from ssl_core.files.whole import atomic_write
from ssl_core.meshes.furnished_room import SHELL, SIZES, Furniture, Room, clearance, furnished, room_mesh, standing
from ssl_core.meshes.household import CLASSES as HOUSEHOLD
from ssl_core.meshes.household import household_mesh
from ssl_core.meshes.mesh_file import read_mesh
from ssl_core.meshes.surface_patterns import class_material
from ssl_core.packing.objects import MeshObject
from ssl_core.packing.scene_plan import SCENES, scene_splits
from ssl_core.render.shaded_views import Light, ShadedMesh
from ssl_core.scenes.cameras import GOLDEN_FRACTION, Camera, intrinsics, look_at
from ssl_core.splatting.scene_folder import DrawnScene, is_whole, write_drawn_scene

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

SETTINGS, BOXES = "rooms.json", "boxes.json"
_AMBIENT, _MEAN_LIGHT = 0.35, 0.95


class RoomsConfig(Config):
    """How rooms are made. A room depends on the seed, its number and split, and the meshes given."""

    rooms: int = Field(default=12, ge=2, le=1000)
    views: int = Field(default=24, ge=3, le=999)
    image_size: int = Field(default=64, ge=8, le=2048, description="side of the pictures in pixels")
    objects_per_room: int = Field(default=7, ge=1, le=30, description="tried; those without a place are left out")
    points: int = Field(default=4000, ge=16, le=1_000_000, description="points of the surface per room")
    fov_degrees: float = Field(default=70.0, gt=10, lt=150)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class RoomJob:
    """One room to be made."""

    out: Path
    number: int
    split: str
    config: RoomsConfig
    objects: tuple[MeshObject, ...]  # of all classes and splits; none: household meshes

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.out / room_name(self.number)


def make_rooms(
    out: Path, config: RoomsConfig, objects: Sequence[MeshObject] = (), progress: Progress | None = None
) -> None:
    """Write all rooms in this process; those that are whole are not made again.

    Args:
        out: folder to write into.
        config: how.
        objects: real meshes (`find_meshes`); rooms for training get those of the split train, others those of test.
            Without any, household meshes.
        progress: called with (rooms done, rooms in all).

    Raises:
        LayoutError: `out` holds rooms of other settings or meshes.
        MeshError: a mesh cannot be read.
        StorageError: the disk is full or not writable.
    """
    for done, job in enumerate(jobs := room_jobs(out, config, objects), start=1):
        write_room(job)
        if progress is not None:
            progress(done, len(jobs))


def room_jobs(out: Path, config: RoomsConfig, objects: Sequence[MeshObject] = ()) -> list[RoomJob]:
    """All rooms, each to be made by `write_room`; their settings and splits are written. Raises: as `make_rooms`."""
    out = Path(out).absolute()  # workers stand elsewhere
    _claim(out, config, objects)
    names = [room_name(number) for number in range(config.rooms)]
    splits = scene_splits(names, [None] * len(names), ScenePackConfig())
    with atomic_write(out / SCENES) as stream:
        stream.write(json.dumps(dict(zip(names, splits, strict=True)), indent=1).encode())
    return [RoomJob(out, number, split, config, tuple(objects)) for number, split in enumerate(splits)]


def room_name(number: int) -> str:
    """The folder of a room."""
    return f"room_{number:03d}"


def write_room(job: RoomJob) -> None:
    """Make one room, unless it is whole. Raises: as `make_rooms`."""
    if is_whole(job.folder):
        return
    rng = np.random.default_rng([job.config.seed, job.number])
    classes = room_classes(job.objects)
    room = furnished(_furniture(job, classes[len(SHELL) :], rng), rng)
    boxes = [
        {"class": item.class_name, "name": item.name, "centre": item.centre.tolist(), "size": item.size.tolist(),
         "yaw": item.yaw}
        for item in room.objects
    ]  # fmt: skip
    with atomic_write(job.folder / BOXES) as stream:
        stream.write(json.dumps(boxes, indent=1).encode())
    mesh, instances = room_mesh(room)
    of_instance = np.array([*range(len(SHELL)), *(classes.index(item.class_name) for item in room.objects)])
    places = [(np.zeros(3), 0.0)] * len(SHELL) + [(item.centre, item.yaw) for item in room.objects]
    materials = [class_material(int(c), rng, *place) for c, place in zip(of_instance, places, strict=True)]
    shaded = ShadedMesh(mesh, instances, materials, _lights(room.size, rng), _AMBIENT)
    cameras = room_cameras(room, job.config, rng)
    scene = DrawnScene(shaded, of_instance[instances].astype(np.uint8), classes, cameras)
    write_drawn_scene(job.folder, scene, job.config.points, rng)


def room_classes(objects: Sequence[MeshObject]) -> tuple[str, ...]:
    """Wall, floor, ceiling, and the classes of the meshes, or of household objects."""
    return *SHELL, *(sorted({item.class_name for item in objects}) or HOUSEHOLD)


def room_cameras(room: Room, config: RoomsConfig, rng: np.random.Generator) -> list[Camera]:
    """Cameras at eye height along the walls, all around, looking across the room; kept away from objects."""
    K = intrinsics(config.image_size, config.fov_degrees)
    half = room.size[:2] / 2
    phase, cameras = rng.random(2), []
    for number in range(config.views):
        angle = 2 * np.pi * ((number * GOLDEN_FRACTION + phase[0]) % 1)
        height = 1.25 + 0.6 * ((number * GOLDEN_FRACTION**2 + phase[1]) % 1)
        best, found = -1.0, np.zeros(3)
        for _ in range(20):
            turned = angle + rng.normal(0, 0.15)
            way = np.array([np.cos(turned), np.sin(turned)])
            to_wall = float((half / np.maximum(np.abs(way), 1e-9)).min())
            place = np.array([*(way * to_wall * rng.uniform(0.6, 0.85)), height])
            free = min(clearance(room.objects, place), 0.6)
            if free > best:
                best, found = free, place
            if free >= 0.6:
                break
        target = np.array([*(rng.uniform(-0.35, 0.35, 2) * half), rng.uniform(0.3, 1.1)])
        cameras.append(Camera(look_at(found, target), K, config.image_size, config.image_size))
    return cameras


def _furniture(job: RoomJob, classes: Sequence[str], rng: np.random.Generator) -> list[Furniture]:
    """Objects of one class after another, in random order; larger ones first, so that they find a place."""
    order = [
        classes[i]
        for _ in range(-(-job.config.objects_per_room // len(classes)))
        for i in rng.permutation(len(classes))
    ]
    found = []
    for number, name in enumerate(order[: job.config.objects_per_room]):
        if not job.objects:
            found.append(Furniture(name, f"{name}_{number}", standing(household_mesh(name, rng), None)))
            continue
        of_class = [item for item in job.objects if item.class_name == name]
        split = "train" if job.split == "train" else "test"
        pool = [item for item in of_class if item.split == split] or of_class
        item = pool[int(rng.integers(len(pool)))]
        longest = SIZES.get(name, 1.0) * rng.uniform(0.85, 1.15)
        found.append(Furniture(name, item.key, standing(read_mesh(item.source), longest)))
    return sorted(found, key=lambda item: -float(np.ptp(item.mesh.vertices[:, :2], axis=0).prod()))


def _lights(size: Floats, rng: np.random.Generator) -> list[Light]:
    """Two to four lamps below the ceiling, warm or cool, together about as bright in each room."""
    count = int(rng.integers(2, 5))
    lamps = []
    for _ in range(count):
        place = np.array([*(rng.uniform(-0.35, 0.35, 2) * size[:2]), size[2] * rng.uniform(0.75, 0.92)])
        warmth = rng.uniform(-1, 1)
        colour = np.array([1 + 0.15 * warmth, 1.0, 1 - 0.15 * warmth]) * rng.uniform(0.7, 1.3)
        lamps.append(Light(place, colour * _MEAN_LIGHT / count * 1.6, 3.0))
    return lamps


def _claim(out: Path, config: RoomsConfig, objects: Sequence[MeshObject]) -> None:
    """Record settings and meshes in `out`, or check them against those there."""
    record, kept = out / SETTINGS, {"config": config.model_dump(), "objects": [item.key for item in objects]}
    text = json.dumps(kept, indent=1)
    if not record.exists():
        with atomic_write(record) as stream:
            stream.write(text.encode())
    elif record.read_text() != text:
        raise LayoutError(f"{out}: holds rooms of other settings or meshes; choose another folder, or delete this one")
