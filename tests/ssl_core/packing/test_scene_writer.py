"""A scene becomes a pack: pictures, cameras, masks and splits as they were, whole or not at all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.dataset import open_dataset
from ssl_core.data.object_pack import Pack
from ssl_core.data.scene_pack import VOID, ScenePack, ScenePackConfig
from ssl_core.errors import PackError
from ssl_core.files.image_files import read_image
from ssl_core.packing import scene_writer
from ssl_core.packing.scene_plan import assign_splits
from ssl_core.packing.scene_views import Maps, undistorted
from ssl_core.packing.scene_writer import write_scene_pack
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import Camera, CameraView, Distortion, orbit_cameras
from tests.reference.projection import project
from tests.ssl_core.camera_writers import opengl_pose, write_json

RAW = ScenePackConfig()


def make_scene(folder: Path, counts: dict[str, int] | None = None, *, alpha: bool = False) -> Path:
    """Views of 12 x 8 pixels; `counts` by file: transforms.json, or transforms_<split>.json."""
    rng = np.random.default_rng(0)
    for file, count in (counts or {"transforms.json": 20}).items():
        frames = []
        for i, camera in enumerate(orbit_cameras(count, 8, seed=len(file))):
            name = f"{Path(file).stem}_{i:02d}"
            frames.append({"file_path": name, "transform_matrix": opengl_pose(camera)})
            pixels = rng.integers(0, 256, (8, 12, 4 if alpha else 3), dtype=np.uint8)
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{name}.png")
        write_json(folder / file, {"fl_x": 10.0, "w": 12, "h": 8, "frames": frames})
    return folder


def test_a_pack_gives_back_what_the_scene_has(tmp_path):
    scene = make_scene(tmp_path / "scene", alpha=True)
    pack = write_scene_pack(scene, tmp_path / "pack", RAW)
    views = read_scene(scene).views
    assert len(pack) == len(views) == 20
    for i, view in enumerate(views):
        assert pack.manifest.views[i].name == view.name
        assert view.image is not None
        np.testing.assert_array_equal(pack.image(i), read_image(view.image))
        np.testing.assert_array_equal(pack.mask(i), np.asarray(Image.open(view.image))[..., 3])
        np.testing.assert_array_equal(pack.camera(i).viewmat, view.camera.viewmat)
        np.testing.assert_array_equal(pack.camera(i).K, view.camera.K)
        assert not pack.image(i).flags.writeable
    again = write_scene_pack(scene, tmp_path / "other", RAW, workers=1)
    assert again.digest == pack.digest
    assert again.files == pack.files


def test_colmaps_points_and_pictures_of_any_size(shared_data, tmp_path):
    folder = shared_data / "scenes" / "colmap_fox9"
    pack = write_scene_pack(folder, tmp_path / "pack", ScenePackConfig(max_side=96, codec="webp"))
    scene = read_scene(folder)
    assert scene.points is not None
    assert pack.points_of() is not None
    np.testing.assert_array_equal(pack.points_of().xyz, scene.points.xyz)
    assert pack.mask(0) is None
    assert pack.image(0).shape == (96, 54, 3)
    pixels, _ = project(pack.camera(0), None, scene.points.xyz)
    whole, _ = project(scene.views[0].camera, None, scene.points.xyz)
    np.testing.assert_allclose(pixels / (54, 96), whole / (1064, 1899))


def test_files_splits_are_kept_and_missing_ones_carved_from_train(tmp_path):
    counts = {"transforms_train.json": 17, "transforms_test.json": 3}
    pack = write_scene_pack(make_scene(tmp_path / "scene", counts), tmp_path / "pack", RAW)
    names = {split: [pack.manifest.views[i].name for i in pack.views(split)] for split in ("train", "val", "test")}
    assert names["test"] == ["transforms_test_00", "transforms_test_01", "transforms_test_02"]
    assert names["val"] == ["transforms_train_00", "transforms_train_08", "transforms_train_16"]
    assert len(names["train"]) == 14


def test_without_splits_every_eighth_is_test_and_of_the_rest_val():
    """By name, whatever the order of the file."""
    camera = orbit_cameras(1, 8)[0]
    views = [CameraView(f"{i:03d}", camera) for i in reversed(range(20))]
    splits = {view.name: split for view, split in zip(views, assign_splits(views, 8), strict=True)}
    assert [name for name, split in splits.items() if split == "test"] == ["016", "008", "000"]
    assert [name for name, split in splits.items() if split == "val"] == ["019", "010", "001"]


def test_a_scene_too_small_for_three_splits_is_refused(tmp_path):
    with pytest.raises(PackError, match="no view is left for train of 2 usable ones"):
        write_scene_pack(make_scene(tmp_path / "scene", {"transforms.json": 2}), tmp_path / "pack", RAW)
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    "lens", [Distortion("perspective", (-0.2, 0.05), (0.01, -0.02)), Distortion("fisheye", (0.1,))]
)
def test_undistorting_moves_each_pixel_to_where_the_lens_saw_it(lens):
    """On a picture whose red is its column and green its row, as its depth is; its label says the half."""
    camera = Camera(np.eye(4), np.array([[90.0, 0, 60.0], [0, 80.0, 40.0], [0, 0, 1]]), 120, 80)
    rows, columns = np.mgrid[:80, :120]
    picture = np.dstack([columns, rows, columns]).astype(np.uint8)
    depth, labels = (rows + 1.0).astype(np.float32), (columns >= 60).astype(np.uint8)
    found, maps = undistorted(picture, Maps(None, labels, depth), camera, lens)
    mask = maps.mask
    rays = (np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5 - camera.K[:2, 2]) / np.diag(camera.K)[:2]
    expected, _ = project(camera, lens, np.column_stack([rays, np.ones(len(rays))]))
    seen = mask.ravel() == 255
    assert 0.5 < seen.mean() <= 1
    inner = seen & ((expected >= 1) & (expected <= (119, 79))).all(axis=1)
    np.testing.assert_allclose(found.reshape(-1, 3)[inner, :2], expected[inner] - 0.5, atol=0.51)
    assert (found[mask == 0] == 255).all()
    assert (maps.labels[mask == 0] == VOID).all()
    assert (maps.depth[mask == 0] == 0).all()
    np.testing.assert_allclose(maps.depth.ravel()[inner], expected[inner, 1] + 0.5, atol=0.51)
    clear = inner & (np.abs(expected[:, 0] - 60) > 1e-6)
    np.testing.assert_array_equal(maps.labels.ravel()[clear], expected[clear, 0] > 60)


def test_a_lens_that_changes_nothing_changes_nothing():
    camera = orbit_cameras(1, 16)[0]
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found, maps = undistorted(picture, Maps(), camera, Distortion("perspective", (0.0,)))
    np.testing.assert_array_equal(found, picture)
    assert (maps.mask == 255).all()


def test_masks_beside_the_pictures_count_before_their_alpha(tmp_path):
    scene = make_scene(tmp_path / "scene", {"transforms.json": 4}, alpha=True)
    (scene / "masks").mkdir()
    own = np.zeros((8, 12), np.uint8)
    own[2:4] = 255
    Image.fromarray(own).save(scene / "masks" / "transforms_01.png")
    pack = write_scene_pack(scene, tmp_path / "pack", RAW)
    np.testing.assert_array_equal(pack.mask(1), own)
    assert (pack.mask(0) != own).any()
    Image.fromarray(own[1:]).save(scene / "masks" / "transforms_01.png")
    with pytest.raises(PackError, match=r"masks/transforms_01.png: is 12 x 7, its picture 12 x 8"):
        write_scene_pack(scene, tmp_path / "other", RAW)


def test_pictures_of_another_size_scale_their_camera_and_of_another_shape_are_refused(tmp_path):
    scene = make_scene(tmp_path / "scene")
    for file in scene.glob("*.png"):
        Image.open(file).resize((6, 4)).save(file)
    pack = write_scene_pack(scene, tmp_path / "pack", RAW)
    assert (pack.camera(0).width, pack.camera(0).K[0, 0]) == (6, 5.0)
    assert list(pack.manifest.notes.values()) == [20]
    Image.new("RGB", (9, 9)).save(scene / "transforms_05.png")
    with pytest.raises(PackError, match=r"transforms_05.png: is 9 x 9, its camera's picture 12 x 8, of another shape"):
        write_scene_pack(scene, tmp_path / "other", RAW)


def test_bad_views_are_all_named_or_left_out_and_recorded(tmp_path):
    scene = make_scene(tmp_path / "scene")
    (scene / "transforms_03.png").unlink()
    (scene / "transforms_04.png").write_bytes(b"no picture")
    with pytest.raises(PackError, match=r"1 unusable view\(s\): transforms_03: its picture is not under"):
        write_scene_pack(scene, tmp_path / "pack", RAW)
    assert not (tmp_path / "pack").exists()
    pack = write_scene_pack(scene, tmp_path / "pack", RAW, skip_bad=True)
    assert [item.path for item in pack.manifest.refused] == ["transforms_03", "transforms_04"]
    assert len(pack) == 18


def test_the_same_again_finds_it_made_and_other_input_needs_a_word(tmp_path, monkeypatch):
    scene, out = make_scene(tmp_path / "scene"), tmp_path / "pack"
    made = write_scene_pack(scene, out, RAW)
    with monkeypatch.context() as patch:
        patch.setattr(scene_writer, "_stored_views", None)
        assert write_scene_pack(scene, out, RAW).digest == made.digest
        (scene / "transforms_03.png").touch()
        assert write_scene_pack(scene, out, RAW).digest == made.digest
        with pytest.raises(PackError, match=r"other settings \(holdout is 8, not 5\)"):
            write_scene_pack(scene, out, ScenePackConfig(holdout=5))
        Image.new("RGB", (12, 8)).save(scene / "transforms_03.png")
        with pytest.raises(PackError, match="--update"):
            write_scene_pack(scene, out, RAW)
    updated = write_scene_pack(scene, out, RAW, update=True)
    assert updated.digest != made.digest
    assert not updated.image(3).any()


def test_interrupted_it_leaves_nothing_that_passes_for_a_pack(tmp_path, monkeypatch):
    scene, out = make_scene(tmp_path / "scene"), tmp_path / "pack"

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scene_writer, "write_array", dies)
        with pytest.raises(KeyboardInterrupt):
            write_scene_pack(scene, out, RAW)
    assert not out.exists()
    assert len(write_scene_pack(scene, out, RAW)) == 20
    assert {path.name for path in tmp_path.iterdir()} == {"scene", "pack"}


def test_kinds_of_packs_are_told_apart_by_the_manifest(tmp_path, tiny_pack):
    write_scene_pack(make_scene(tmp_path / "scene"), tmp_path / "pack", RAW)
    assert isinstance(open_dataset(tmp_path / "pack"), ScenePack)
    assert isinstance(open_dataset(tiny_pack.path), Pack)
    with pytest.raises(PackError, match="is the pack of scenes; a pack of objects is needed"):
        Pack.open(tmp_path / "pack")
    with pytest.raises(PackError, match="is the pack of objects; a pack of scenes is needed"):
        ScenePack.open(tiny_pack.path)
    file = tmp_path / "pack" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"kind": "film"}))
    with pytest.raises(PackError, match="is the pack of films"):
        open_dataset(tmp_path / "pack")


@pytest.mark.parametrize("name", ["images.bin", "viewmats.npy", "masks.bin"])
def test_a_file_that_changed_is_refused(tmp_path, name):
    pack = write_scene_pack(make_scene(tmp_path / "scene", alpha=True), tmp_path / "pack", RAW)
    copy = shutil.copytree(pack.path, tmp_path / "copy")
    (copy / name).write_bytes((copy / name).read_bytes()[:-8])
    with pytest.raises(PackError, match=f"{name}: .* bytes expected"):
        ScenePack.open(copy)
