"""Several scenes in a pack: their files, splits of views and of scenes, and what does not go together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.scene_pack import VOID, ScenePack, ScenePackConfig
from ssl_core.errors import CameraError, ConfigError, PackError
from ssl_core.files.image_files import write_mask
from ssl_core.packing.scene_plan import checked_scene_lists, scene_splits
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import orbit_cameras
from tests.ssl_core.camera_writers import opengl_pose, write_json

CONFIG = ScenePackConfig()
SIZE = 8


def make_scene(folder: Path, views: int = 6, seed: int = 0) -> Path:
    """With labels 0, 1 and VOID, and depth."""
    rng = np.random.default_rng(seed)
    frames = []
    for i, camera in enumerate(orbit_cameras(views, SIZE, seed=seed)):
        frames.append({"file_path": f"images/{i:02d}.png", "transform_matrix": opengl_pose(camera)})
        for kind in ("images", "labels", "depth"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(folder / f"images/{i:02d}.png")
        write_mask(folder / f"labels/{i:02d}.png", rng.choice(np.array([0, 1, 255], np.uint8), (SIZE, SIZE)))
        write_mask(folder / f"depth/{i:02d}.png", rng.integers(0, 9000, (SIZE, SIZE)).astype(np.uint16))
    write_json(folder / "transforms.json", {"fl_x": 9.0, "w": SIZE, "h": SIZE, "frames": frames})
    write_json(folder / "classes.json", ["wall", "chair"])
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("scenes")
    return [make_scene(root / name, seed=seed) for seed, name in enumerate(("a", "b", "c"))]


def test_views_of_several_scenes_keep_their_pixels_labels_and_depth(scenes, tmp_path):
    pack = write_scene_pack(scenes, tmp_path / "pack", CONFIG)
    assert [scene.name for scene in pack.scenes] == ["a", "b", "c"]
    assert pack.classes == ("wall", "chair")
    assert pack.palette.shape == (2, 3)
    for number, scene in enumerate(scenes):
        indices = pack.views(scene=number)
        assert set(indices) == {i for split in ("train", "val", "test") for i in pack.views(split, number)}
        for place, i in enumerate(indices.tolist()):
            assert pack.manifest.views[i].scene == number
            np.testing.assert_array_equal(pack.image(i), np.asarray(Image.open(scene / f"images/{place:02d}.png")))
            np.testing.assert_array_equal(pack.labels(i), np.asarray(Image.open(scene / f"labels/{place:02d}.png")))
            units = np.asarray(Image.open(scene / f"depth/{place:02d}.png"))
            np.testing.assert_allclose(pack.depth(i), units / 1000, rtol=1e-6)
            found = pack.cameras_of(number).views[place].camera
            np.testing.assert_array_equal(found.viewmat, read_scene(scene).views[place].camera.viewmat)
    assert len(pack.views()) == len(pack) == 18
    other = write_scene_pack(scenes[:2], tmp_path / "other", CONFIG)
    assert other.digest != pack.digest
    assert other.scenes_of("test") == (1,)


def test_one_scene_is_what_it_was_before_there_could_be_several(scenes, tmp_path):
    """A manifest without the new keys opens, and its digest is that of its content."""
    pack = write_scene_pack(scenes[0], tmp_path / "pack", CONFIG)
    assert pack.scenes[0].split == "train"
    values = json.loads((pack.path / "manifest.json").read_text())
    assert not {"downscale", "depth_scale", "val_scenes", "test_scenes"} & set(values["config"])
    assert not any("scene" in view for view in values["views"])
    kept = values["classes"]
    del values["scenes"], values["classes"]
    (pack.path / "manifest.json").write_text(json.dumps(values))
    old = ScenePack.open(pack.path)
    assert len(old.scenes) == 1
    assert old.classes == ()
    assert old.points_of() is None
    values["classes"] = kept
    (pack.path / "manifest.json").write_text(json.dumps(values))
    assert ScenePack.open(pack.path).manifest.content_digest() == pack.digest


def test_downscaling_takes_the_middle_of_labels_and_depth(scenes, tmp_path):
    full, half = (
        write_scene_pack(scenes[0], tmp_path / f"{factor}", ScenePackConfig(downscale=factor)) for factor in (1, 2)
    )
    assert half.image(0).shape == (SIZE // 2, SIZE // 2, 3)
    np.testing.assert_array_equal(half.labels(0), full.labels(0)[1::2, 1::2])
    np.testing.assert_array_equal(half.depth(0), full.depth(0)[1::2, 1::2])
    np.testing.assert_allclose(half.camera(0).K[:2], full.camera(0).K[:2] / 2)


def test_scenes_are_split_by_lists_by_files_and_by_shares():
    names = [f"s{i}" for i in range(12)]
    none = [None] * 12
    found = scene_splits(names, none, CONFIG)
    assert [found.count(split) for split in ("train", "val", "test")] == [6, 3, 3]
    assert scene_splits(names, none, CONFIG) == found
    assert scene_splits(["s"], [None], CONFIG) == ("train",)
    assert sorted(scene_splits(names[:2], none[:2], CONFIG)) == ["test", "train"]
    assert sorted(scene_splits(names[:3], none[:3], CONFIG)) == ["test", "train", "val"]
    listed = ScenePackConfig(test_scenes=("s1", "s2"), val_scenes=0.0)
    assert scene_splits(names, none, listed) == ("train", "test", "test", *("train",) * 9)
    given = ["val", "test", *("train",) * 10]
    assert scene_splits(names, given, CONFIG) == tuple(given)
    for config, match in (
        (ScenePackConfig(val_scenes=("x",)), "--val-scenes names 'x', which is none of 's0'"),
        (ScenePackConfig(val_scenes=("s1",), test_scenes=("s1",)), "'s1' is listed twice"),
    ):
        with pytest.raises(PackError, match=match):
            scene_splits(names, none, config)
    assert checked_scene_lists(["0.5"], ["a", "b"]) == {"val_scenes": 0.5, "test_scenes": ("a", "b")}
    with pytest.raises(ConfigError, match="a share is at least 0 and below 1"):
        checked_scene_lists(["1.5"], [])


def test_a_folder_with_scenes_json_stands_for_its_scenes(scenes, tmp_path):
    root = scenes[0].parent
    splits = {"a": "test", "b": "train", "c": "val"}
    (tmp_path / "set").mkdir()
    for name in splits:
        shutil.copytree(root / name, tmp_path / "set" / name)
    write_json(tmp_path / "set/scenes.json", splits)
    pack = write_scene_pack(tmp_path / "set", tmp_path / "pack", CONFIG)
    assert {scene.name: scene.split for scene in pack.scenes} == splits
    write_json(tmp_path / "set/scenes.json", {"../a": "train"})
    with pytest.raises(PackError, match=r"scenes.json: lists no scenes \(../a: train\)"):
        write_scene_pack(tmp_path / "set", tmp_path / "other", CONFIG)


def test_lists_of_views_say_their_splits(tmp_path):
    scene = make_scene(tmp_path / "scene")
    (scene / "test.txt").write_text("00.png\n# a comment\n\n")
    (scene / "val.txt").write_text("images/03.png\n")
    pack = write_scene_pack(scene, tmp_path / "pack", CONFIG)
    assert [view.split for view in pack.manifest.views] == ["test", "train", "train", "val", "train", "train"]
    (scene / "train.txt").write_text("01\n02\n")
    few = write_scene_pack(scene, tmp_path / "few", CONFIG)
    assert [view.name[-6:-4] for view in few.manifest.views] == ["00", "01", "02", "03"]
    assert sum(few.manifest.notes.values()) == 2
    for text, match in (
        ("07.png\n", "names '07.png', which is no view"),
        ("00.png\n", "names '00.png', which val.txt has, too"),
    ):
        (scene / "val.txt").write_text(text)
        with pytest.raises(PackError, match=match):
            write_scene_pack(scene, tmp_path / "other", CONFIG)


def wrong_size(scene: Path) -> None:
    write_mask(scene / "labels/01.png", np.zeros((4, 8), np.uint8))


def wrong_depth_size(scene: Path) -> None:
    write_mask(scene / "depth/02.png", np.zeros((8, 4), np.uint16))


def wrong_id(scene: Path) -> None:
    write_mask(scene / "labels/01.png", np.full((8, 8), 9, np.uint8))


def infinite_depth(scene: Path) -> None:
    (scene / "depth/02.png").unlink()
    np.save(scene / "depth/02.npy", np.full((8, 8), np.inf))


def no_classes(scene: Path) -> None:
    (scene / "classes.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (wrong_size, r"labels/01.png: is 8 x 4, its picture 8 x 8; make it again in that size"),
        (wrong_depth_size, r"depth/02.png: is 4 x 8, its picture 8 x 8"),
        (wrong_id, r"labels/01.png: 64 pixels have id 9"),
        (infinite_depth, r"depth/02.npy: 64 pixels are NaN, infinite or negative"),
        (no_classes, r"has label maps and no classes.json"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path, spoil, match):
    scene = make_scene(tmp_path / "scene")
    spoil(scene)
    with pytest.raises(PackError, match=match):
        write_scene_pack(scene, tmp_path / "pack", CONFIG)
    assert not (tmp_path / "pack").exists()


def test_scenes_that_do_not_go_together_are_refused(scenes, tmp_path):
    twin = make_scene(tmp_path / "a")
    with pytest.raises(PackError, match="several scenes are called 'a'"):
        write_scene_pack([scenes[0], twin], tmp_path / "pack", CONFIG)
    other = make_scene(tmp_path / "d")
    write_json(other / "classes.json", ["wall", "sofa"])
    with pytest.raises(PackError, match=r"disagree: class 1 of 2 is 'chair' there and of 2 'sofa' here"):
        write_scene_pack([scenes[0], other], tmp_path / "pack", CONFIG)
    with pytest.raises(CameraError, match="has one view; a scene needs several"):
        write_scene_pack(make_scene(tmp_path / "one", views=1), tmp_path / "pack", CONFIG)


def test_views_without_a_label_map_have_no_class(tmp_path):
    scene = make_scene(tmp_path / "scene")
    (scene / "labels/04.png").unlink()
    pack = write_scene_pack(scene, tmp_path / "pack", CONFIG)
    assert (pack.labels(4) == VOID).all()
    assert (pack.labels(3) != VOID).any()


def test_drawn_depth_is_noted_and_left_out(tmp_path):
    scene = make_scene(tmp_path / "scene")
    for file in (scene / "depth").iterdir():
        write_mask(file, np.zeros((SIZE, SIZE), np.uint8))
    pack = write_scene_pack(scene, tmp_path / "pack", CONFIG)
    assert pack.depth(0) is None
    assert any("8 bits a channel" in note for note in pack.manifest.notes)


@pytest.mark.slow  # decodes 27 large photographs
def test_real_captures_become_packs(shared_data, tmp_path):
    """COLMAP's fox with an estimated depth of 8 bits, and a Blender set whose names lack folder and ending."""
    root = shared_data / "scenes"
    fox = write_scene_pack(root / "colmap_fox9", tmp_path / "fox", ScenePackConfig(downscale=8))
    assert (len(fox), len(fox.points_of()), fox.depth(0)) == (9, 1457, None)
    assert fox.image(0).shape == (237, 133, 3)
    duck = write_scene_pack(root / "blender_duck", tmp_path / "duck", ScenePackConfig(downscale=8))
    assert [len(duck.views(split)) for split in ("train", "val", "test")] == [97, 32, 32]
    both = write_scene_pack(
        [root / "colmap_fox9", root / "blender_duck"], tmp_path / "both", ScenePackConfig(downscale=8)
    )
    assert [len(both.views(scene=scene)) for scene in (0, 1)] == [9, 161]
    assert both.points_of(1) is None
    np.testing.assert_array_equal(both.image(9 + 3), duck.image(3))
