"""Rooms on disk: both layouts say the same cameras, truth agrees with itself, and what is whole is not made again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.errors import LayoutError
from ssl_core.meshes.furnished_room import SHELL, clearance, furnished
from ssl_core.packing.layout import find_meshes
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.scenes.camera_files import read_scene
from ssl_core.splatting.rooms import RoomsConfig, make_rooms, room_cameras
from tests.small_rooms import SMALL, small_rooms
from tests.small_sets import pack_bytes

BOX = "OFF\n8 6 0\n" + "\n".join(f"{x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1)) + "\n" + "\n".join(
    ["4 0 1 3 2", "4 4 5 7 6", "4 0 1 5 4", "4 2 3 7 6", "4 0 2 6 4", "4 1 3 7 5"]
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, ScenePack]:
    folder = tmp_path_factory.mktemp("small_rooms")
    pack = small_rooms(folder)
    return folder / "rooms", pack


def test_both_layouts_say_the_same_cameras_points_and_depth_files(made):
    rooms, pack = made
    scene, other = read_scene(rooms / "room_001"), read_scene(rooms / "room_001/transforms.json")
    assert (scene.format, other.format) == ("colmap text", "nerfstudio")
    for one, two in zip(scene.views, other.views, strict=True):
        assert f"images/{one.name}" == two.name
        assert two.depth == rooms / "room_001/depth" / one.name
        np.testing.assert_allclose(one.camera.viewmat, two.camera.viewmat, atol=1e-12)
        np.testing.assert_allclose(one.camera.K, two.camera.K)
    np.testing.assert_allclose(scene.points.xyz, other.points.xyz, atol=1e-5)
    np.testing.assert_array_equal(scene.points.colours, other.points.colours)
    assert len(pack.points_of(1)) == SMALL.points


def test_classes_splits_and_boxes(made):
    rooms, pack = made
    assert pack.classes[: len(SHELL)] == SHELL
    assert len(pack.classes) == 13
    assert [scene.split for scene in pack.scenes] == ["train", "test", "val"]
    for number, scene in enumerate(pack.scenes):
        boxes = json.loads((rooms / scene.name / "boxes.json").read_text())
        seen = np.unique(np.concatenate([pack.labels(i).ravel() for i in pack.views(scene=number)]))
        assert {pack.classes[label] for label in seen} <= {*SHELL, *(box["class"] for box in boxes)}
        assert len(seen) >= 6
        assert [len(pack.views(split, number)) for split in ("train", "val", "test")] == [6, 1, 1]


def test_pixels_of_an_object_lie_in_a_box_of_its_class(made):
    """Depth, labels, cameras and boxes are of one world, to half a millimetre of stored depth."""
    rooms, pack = made
    boxes = json.loads((rooms / "room_000/boxes.json").read_text())
    checked = 0
    for index in pack.views(scene=0).tolist():
        camera, labels, depth = pack.camera(index), pack.labels(index), pack.depth(index)
        rows, columns = np.nonzero(labels >= len(SHELL))
        rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(camera.K).T
        points = (rays * depth[rows, columns, None] - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]
        inside = np.zeros(len(points), bool)
        for box in boxes:
            cos, sin = np.cos(box["yaw"]), np.sin(box["yaw"])
            local = (points - box["centre"]) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
            own = labels[rows, columns] == pack.classes.index(box["class"])
            inside |= own & (np.abs(local) <= np.array(box["size"]) / 2 + 2e-3).all(axis=1)
        assert inside.all()
        checked += len(points)
    assert checked > 500


def test_equal_settings_give_equal_rooms_and_whole_ones_stay(made, tmp_path):
    _, pack = made
    again = small_rooms(tmp_path, rooms=2)
    assert (again.image(3) == pack.image(3)).all()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "rooms").rglob("*.png")}
    (tmp_path / "rooms/room_001/transforms.json").unlink()  # as if killed before its end
    config = SMALL.model_copy(update={"rooms": 2})
    make_rooms(tmp_path / "rooms", config)
    assert pack_bytes(write_scene_pack(tmp_path / "rooms", tmp_path / "pack2", ScenePackConfig()).path) == pack_bytes(
        again.path
    )
    for file, time in kept.items():
        assert (file.stat().st_mtime_ns == time) == (file.parts[-3] == "room_000")
    with pytest.raises(LayoutError, match="holds rooms of other settings or meshes"):
        make_rooms(tmp_path / "rooms", config.model_copy(update={"seed": 1}))


def test_rooms_for_test_get_other_meshes_than_those_for_training(tmp_path):
    for place in ("crate/train/a", "crate/test/b", "trunk/train/c", "trunk/test/d"):
        file = tmp_path / "meshes" / f"{place}.off"
        file.parent.mkdir(parents=True)
        file.write_text(BOX)
    items, problems = find_meshes(tmp_path / "meshes")
    assert not problems
    config = RoomsConfig(rooms=3, views=3, image_size=8, points=16, objects_per_room=3)
    make_rooms(tmp_path / "rooms", config, items)
    splits = json.loads((tmp_path / "rooms/scenes.json").read_text())
    used = {"train": set(), "val": set(), "test": set()}
    for name, split in splits.items():
        used[split] |= {box["name"] for box in json.loads((tmp_path / "rooms" / name / "boxes.json").read_text())}
    assert used["train"] == {"crate/train/a", "trunk/train/c"}
    assert used["val"] | used["test"] == {"crate/test/b", "trunk/test/d"}
    sizes = [box["size"] for box in json.loads((tmp_path / "rooms/room_000/boxes.json").read_text())]
    assert all(0.8 < max(size) < 1.2 for size in sizes)


def test_cameras_stand_at_eye_height_within_the_room_and_look_into_it():
    room = furnished([], np.random.default_rng(5))
    cameras = room_cameras(room, RoomsConfig(views=40), np.random.default_rng(0))
    places = np.array([camera.position for camera in cameras])
    assert (np.abs(places[:, :2]) < room.size[:2] / 2 - 0.2).all()
    assert places[:, 2].min() > 1.2
    assert places[:, 2].max() < 1.9
    assert clearance(room.objects, places[0]) == np.inf
    inwards = -places[:, :2] / np.linalg.norm(places[:, :2], axis=1, keepdims=True)
    axes = np.array([camera.viewmat[2, :3] for camera in cameras])
    assert ((axes[:, :2] * inwards).sum(axis=1) > 0.3).all()
    angles = np.sort(np.arctan2(places[:, 1], places[:, 0]))
    assert np.diff(angles).max() < 0.9, "from all around"


def test_pictures_depth_and_labels_have_the_files_of_a_capture(made):
    rooms, _ = made
    folder = rooms / "room_002"
    depth = np.asarray(Image.open(folder / "depth/000.png"))
    assert depth.dtype == np.uint16
    assert depth.min() > 300
    assert np.asarray(Image.open(folder / "labels/000.png")).dtype == np.uint8
    assert not (folder / "masks").exists()
