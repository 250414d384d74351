"""What transforms.json names beside pictures: masks, depth, points and splits; and INRIA's input.ply."""

import numpy as np
import pytest
from PIL import Image

from ssl_core.clouds.cloud_ply import write_cloud_ply
from ssl_core.errors import CameraError
from ssl_core.scenes.camera_files import read_scene
from tests.ssl_core.camera_writers import CAMERAS, NAMES, inria, nerfstudio, write_json

POINTS = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
COLOURS = np.random.default_rng(2).integers(0, 256, (7, 3), dtype=np.uint8)


def write(folder, **more):
    content = nerfstudio(CAMERAS, NAMES, **more)
    content["frames"][2] |= {"mask_path": "own/m.png", "depth_file_path": "own/d.npy"}
    content["frames"][3] |= {"mask_path": "../outside.png", "depth_file_path": 3}
    return write_json(folder / "transforms.json", content)


def test_masks_depth_points_and_splits_count_where_they_are(tmp_path):
    (tmp_path / "own").mkdir()
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "own/m.png")
    np.save(tmp_path / "own/d.npy", np.ones((48, 64)))
    write_cloud_ply(tmp_path / "sparse_pc.ply", POINTS, COLOURS)
    lists = {"train_filenames": NAMES[:3], "test_filenames": NAMES[3:4]}
    scene = read_scene(write(tmp_path, ply_file_path="sparse_pc.ply", **lists))
    assert (scene.views[2].mask, scene.views[2].depth) == (tmp_path / "own/m.png", tmp_path / "own/d.npy")
    assert (scene.views[3].mask, scene.views[3].depth) == (None, None)
    assert [view.split for view in scene.views] == ["train", "train", "train", "test", None]
    np.testing.assert_array_equal(scene.points.xyz, POINTS)
    np.testing.assert_array_equal(scene.points.colours, COLOURS)
    assert any("1 masks, depths or point files" in note for note in scene.notes)


def test_lists_and_points_that_cannot_be_are_refused(tmp_path):
    for more, match in (
        ({"val_filenames": "r_0"}, "val_filenames is no list of names"),
        ({"val_filenames": NAMES[:1], "train_filenames": NAMES[:1]}, "is in train_filenames and val_filenames"),
    ):
        with pytest.raises(CameraError, match=match):
            read_scene(write(tmp_path, **more))
    (tmp_path / "bad.ply").write_bytes(b"ply\nnothing")
    with pytest.raises(CameraError, match=r"bad.ply: .*the scene's points; or take the file away"):
        read_scene(write(tmp_path, ply_file_path="bad.ply"))


def test_the_points_of_an_inria_output_are_those_it_began_with(tmp_path):
    write_json(tmp_path / "cameras.json", inria(CAMERAS, NAMES))
    write_cloud_ply(tmp_path / "input.ply", POINTS, COLOURS)
    np.testing.assert_array_equal(read_scene(tmp_path).points.xyz, POINTS)
