"""ShapeNet's renders with view.txt and their clouds: what becomes of cameras, axes, masks, backgrounds and lists."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_sets import zipped
from renders_set import (
    POINTS,
    SIZE,
    SPLITS,
    STAND,
    TABLE,
    VIEWS,
    angles_of,
    as_shapenet,
    blender_camera,
    mesh_of,
    write_renders,
)

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import LayoutError, PackError
from ssl_core.packing.layout import find_objects
from ssl_core.packing.pack_writer import PackJob, build_here, make_pack
from ssl_core.packing.packed_render import over_white
from ssl_core.render.mesh_raster import render_mesh_views
from tests.reference.projection import project

CONFIG = PackConfig(cached_points=32, starts=1)


@pytest.fixture(scope="module")
def renders(tmp_path_factory) -> Path:
    return write_renders(tmp_path_factory.mktemp("renders"))


@pytest.fixture(scope="module")
def pack(renders, tmp_path_factory) -> Pack:
    return packed(renders, tmp_path_factory.mktemp("pack") / "p")


@pytest.fixture
def copied(renders, tmp_path) -> Path:
    return Path(shutil.copytree(renders, tmp_path / "set"))


def packed(root: Path, out: Path, config: PackConfig = CONFIG, *, splits: bool = True, **options) -> Pack:
    lists = root / "splits" if splits else None
    return make_pack(PackJob(root / "points", root / "images", out, config, splits=lists, **options), build_here)[0]


def test_lists_say_the_splits_and_whom_to_hold_out(pack):
    assert len(pack.manifest.objects) == 2 * sum(SPLITS.values())
    for item in pack.manifest.objects:
        split = "train" if item.name < "03" else "val" if item.name < "04" else "test"
        assert (item.split, item.validation) == ("test" if split == "test" else "train", split == "val")
        assert (item.rows, item.views) == (POINTS, VIEWS)
    assert pack.manifest.class_names == (STAND, TABLE)
    assert pack.manifest.groups == ("xyz",)
    assert not pack.manifest.notes
    assert not pack.manifest.views_rendered


def test_points_of_the_pack_cover_its_masks(pack):
    """Every point falls on the mask or next to it, and hardly any covered pixel is far from all points."""
    for index, item in enumerate(pack.manifest.objects):
        xyz = pack.rows_of(index)[:, :3].astype(np.float64)
        for view in range(item.first_view, item.first_view + item.views):
            camera = pack.camera(view)
            pixels, depth = project(camera, None, xyz)
            assert (depth > 0).all()
            mask = pack.masks[view] > 0
            columns, rows = np.clip(pixels.astype(int), 0, SIZE - 1).T
            padded = np.pad(mask, 1)
            near = np.any([np.roll(padded, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)[1:-1, 1:-1]
            assert near[rows, columns].all()
            covered = np.argwhere(pack.masks[view] == 255)[:, ::-1] + 0.5
            gap = np.linalg.norm(covered[:, None] - pixels[None], axis=2).min(axis=1)
            assert np.quantile(gap, 0.95) < 2.5


def test_views_are_the_mesh_over_white_and_cameras_those_of_the_script(pack):
    for item in pack.manifest.objects:
        seed = int(item.name[:2])
        cameras = [blender_camera(*each) for each in angles_of(seed)]
        drawn = render_mesh_views(mesh_of(item.class_name, seed), cameras)
        for i, (camera, view) in enumerate(zip(cameras, drawn, strict=True)):
            found = pack.camera(item.first_view + i)
            np.testing.assert_allclose(found.viewmat, camera.viewmat, atol=1e-12)
            np.testing.assert_allclose(found.K, camera.K)
            stored = pack.views[[item.first_view + i]][0].transpose(1, 2, 0)
            np.testing.assert_allclose(stored / 255, view.rgb, atol=1.5 / 255)
            np.testing.assert_allclose(pack.masks[item.first_view + i] / 255, view.alpha, atol=1 / 255)


@pytest.mark.parametrize("background", ["white", "alpha"])
def test_the_background_of_the_files_does_not_matter(pack, tmp_path, background):
    other = packed(write_renders(tmp_path / "set", background), tmp_path / "p")
    np.testing.assert_allclose(other.views[:].astype(int), pack.views[:].astype(int), atol=2)
    np.testing.assert_array_equal(other.masks, pack.masks)


def test_over_white_before_any_colour():
    rng = np.random.default_rng(0)
    colour, alpha = rng.uniform(size=(16, 16, 3)), rng.choice([0, 0.25, 0.5, 1], size=(16, 16, 1))
    for behind in (np.zeros(3), np.ones(3), np.array([0.2, 0.6, 0.4])):
        picture = np.rint(255 * (alpha * colour + (1 - alpha) * behind)).astype(np.uint8)
        found = over_white(picture, np.rint(255 * alpha[..., 0]).astype(np.uint8))
        np.testing.assert_allclose(found, 255 * (alpha * colour + 1 - alpha), atol=2)


def test_a_list_that_names_views_gives_the_model_those_alone(copied, pack, tmp_path):
    """As released: one `<model>_<view>` each, in arrays of objects."""
    for file in (copied / "splits").iterdir():
        names = [f"{name}_{VIEWS - 1}" for name in file.read_text().split()]
        synset, split = file.stem.split("_")
        entries = np.array([[name] for name in names], dtype=object)
        np.save(copied / "splits" / f"images_list_{synset}_{split}.npy", entries)
        np.save(copied / "splits" / f"images_list_{synset}.npy", np.array([["not_looked_at"]], dtype=object))
        file.unlink()
    np.save(copied / "splits" / "images_list_03001627_train.npy", np.array([["of_a_class_that_is_not_there_1"]], "O"))
    found = packed(copied, tmp_path / "p")
    assert [item.key for item in found.manifest.objects] == [item.key for item in pack.manifest.objects]
    assert [item.validation for item in found.manifest.objects] == [item.validation for item in pack.manifest.objects]
    assert len(found.views) == len(found.manifest.objects)
    np.testing.assert_array_equal(found.views[:], pack.views[np.arange(VIEWS - 1, len(pack.views), VIEWS)])
    assert found.camera(0).viewmat.tolist() == pack.camera(VIEWS - 1).viewmat.tolist()


def test_lists_may_lie_beside_the_pictures_and_changed_ones_change_the_pack(copied, pack, tmp_path):
    shutil.move(copied / "splits", copied / "images" / "splits")
    found = packed(copied, tmp_path / "p", splits=False)
    assert found.digest == pack.digest
    (copied / f"images/splits/{TABLE}_val.txt").write_text(f"00ab{TABLE}\n")
    (copied / f"images/splits/{TABLE}_train.txt").write_text("".join(f"0{i}ab{TABLE}\n" for i in (1, 2, 3)))
    with pytest.raises(PackError, match="holds a pack of other input"):
        packed(copied, tmp_path / "p", splits=False)
    changed = packed(copied, tmp_path / "p", splits=False, update=True)
    assert [item.name for item in changed.manifest.objects if item.validation] == [f"03ab{STAND}", f"00ab{TABLE}"]
    assert changed.digest == packed(copied, tmp_path / "q", splits=False).digest


def test_without_a_list_of_validation_a_share_is_held_out(copied, tmp_path):
    (copied / f"splits/{TABLE}_val.txt").rename(copied / f"splits/{TABLE}_more_train.txt")
    held = [item for item in packed(copied, tmp_path / "p").manifest.objects if item.validation]
    assert [item.class_name for item in held] == [STAND, TABLE]


def test_clouds_with_colours_and_of_other_kinds(copied, tmp_path):
    rng = np.random.default_rng(0)
    for folder in (copied / "points").glob("*/*"):
        xyz = np.load(folder / "pcl_1024_fps_trimesh.npy")
        np.save(folder / "pcl_1024_fps_trimesh_colors.npy", np.hstack([xyz, rng.uniform(size=xyz.shape)]))
    assert packed(copied, tmp_path / "p").manifest.groups == ("xyz", "sh_dc")
    first = next((copied / "points").glob("*/*"))
    (first / "pcl_1024_fps_trimesh_colors.npy").unlink()
    lines = "\n".join(" ".join(map(str, point)) for point in np.load(first / "pcl_1024_fps_trimesh.npy"))
    head = (
        "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (first / "sampled.ply").write_text(head.format(POINTS) + lines + "\n")
    (first / "pcl_1024_fps_trimesh.npy").unlink()
    plain = packed(copied, tmp_path / "q")
    assert plain.manifest.groups == ("xyz",)
    assert not plain.manifest.notes


def test_a_cloud_of_other_axes_is_noted(copied, tmp_path):
    for file in (copied / "points").rglob("*.npy"):
        np.save(file, np.load(file)[:, [1, 0, 2]] * 1.5)
    notes = packed(copied, tmp_path / "p").manifest.notes
    assert notes
    assert all(
        "of the points fall on the masks: cloud and renders are of other axes or scale" in note for note in notes
    )


def test_bad_input_is_named_before_there_is_a_pack(copied, tmp_path):
    folders = sorted((copied / "images").glob("*/*"))
    clouds = copied / "points"
    (folders[0] / "mask_0.png").unlink()
    for i in range(VIEWS):
        (folders[1] / f"mask_{i}.png").unlink()
    Image.new("RGB", (SIZE, SIZE - 8)).save(folders[2] / "render_1.png")
    Image.new("L", (SIZE, SIZE - 8), 9).save(folders[2] / "mask_1.png")
    Image.new("L", (SIZE, SIZE), 1).save(folders[3] / "mask_2.png")
    Image.new("L", (SIZE, SIZE), 255).save(folders[4] / "mask_2.png")
    (folders[5] / "view.txt").write_text("10 20 0 2\n30 40 0 2\n\n")
    (folders[6] / "view.txt").unlink()
    np.save(clouds / folders[7].relative_to(copied / "images") / "pcl_1024_fps_trimesh.npy", np.full((9, 3), np.nan))
    (clouds / folders[8].relative_to(copied / "images") / "pcl_1024_fps_trimesh.npy").unlink()
    Image.new("L", (2 * SIZE, 2 * SIZE), 9).save(folders[9] / "mask_0.png")
    options = {"out": tmp_path / "p", "config": CONFIG}
    with pytest.raises(PackError) as listed:
        packed(copied, **options)
    for folder, words in (
        (folders[0], "has no mask_0.png, and masks of other views"),
        (folders[6], "has no view.txt; write a line 'azimuth elevation'"),
        (
            clouds / folders[8].relative_to(copied / "images"),
            "model without a cloud: expected pcl_1024_fps_trimesh.npy",
        ),
    ):
        assert f"{folder}: {words}" in str(listed.value)
    assert not (tmp_path / "p").exists()
    with pytest.raises(PackError, match="no object is usable") as caught:
        packed(copied, skip_bad=True, **options)
    for folder, name, words in (
        (folders[1], "render_0.png", "has no mask: write mask_<number>.png beside it"),
        (folders[2], "render_1.png", f"is {SIZE} x {SIZE - 8} pixels; expected a square"),
        (folders[3], "mask_2.png", "the mask is empty: its largest value is 1 of 255"),
        (folders[4], "mask_2.png", "the mask is full: it covers every pixel"),
        (folders[5], "view.txt", "has 2 lines, and picture 2 needs line 3"),
        (folders[9], "mask_0.png", f"is {2 * SIZE} x {2 * SIZE} pixels, its picture {SIZE} x {SIZE}"),
    ):
        assert f"{folder / name}: {words}" in str(caught.value)
    assert "9 of 9 points cannot be used" in str(caught.value)
    assert not (tmp_path / "p").exists()


def test_pictures_of_several_sizes_need_a_size(copied, pack, tmp_path):
    folder = sorted((copied / "images").glob("*/*"))[-1]
    for kind in ("render", "mask"):
        file = folder / f"{kind}_1.png"
        with Image.open(file) as picture:
            picture.resize((2 * SIZE, 2 * SIZE)).save(file)
    with pytest.raises(PackError, match=rf"render_1.png: is {2 * SIZE} x {2 * SIZE} pixels, others are {SIZE}"):
        packed(copied, tmp_path / "p")
    found = packed(copied, tmp_path / "q", CONFIG.model_copy(update={"image_size": SIZE // 2}))
    camera = found.camera(len(found.views) - 2)
    np.testing.assert_allclose(camera.K, blender_camera(0, 0, SIZE // 2).K)
    np.testing.assert_allclose(camera.viewmat, pack.camera(len(pack.views) - 2).viewmat)


def test_without_lists_or_with_lists_for_another_layout(copied, tmp_path):
    with pytest.raises(LayoutError, match=r"images: has no lists of a split; give --splits with images_list_"):
        find_objects(copied / "points", copied / "images")
    with pytest.raises(LayoutError, match="leave --splits out"):
        find_objects(copied / "points", None, copied / "splits")
    everything = {"train": [], "val": [], "test": []}
    for file in (copied / "splits").iterdir():
        synset, split = file.stem.split("_")
        everything[split] += [f"{synset}/{name}" for name in file.read_text().split()]
    one = tmp_path / "splits.json"
    one.write_text(json.dumps(everything))
    by_one, by_many = (find_objects(copied / "points", copied / "images", at) for at in (one, copied / "splits"))
    assert by_one == by_many
    assert not by_one[1]


def test_what_lists_and_folders_do_not_agree_on(copied):
    lists = copied / "splits"
    (lists / f"{TABLE}_train.txt").write_text(f"00ab{TABLE}\n04ab{TABLE}\n../../etc\nnobody_3\n")
    objects, problems = find_objects(copied / "points", copied / "images", lists)
    assert {item.name for item in objects if item.class_name == TABLE} == {f"00ab{TABLE}", f"03ab{TABLE}"}
    reasons = {problem.path.rpartition("/")[2]: problem.reason for problem in problems}
    assert "in the lists of several splits" in reasons[f"04ab{TABLE}"]
    assert "listed model without pictures" in reasons["etc"]
    assert "listed model without pictures" in reasons["nobody_3"]
    assert reasons[f"01ab{TABLE}"] == "model in no split list; add it to one"


def test_archives_of_one_class_are_read_in_place(copied, tmp_path):
    for part in ("images", "points"):
        zipped(copied / part / TABLE, tmp_path / f"{part}.zip", f"ShapeNet/{TABLE}/")
        shutil.rmtree(copied / part / STAND)
    found = [find_objects(*places, copied / "splits") for places in (
        (tmp_path / "points.zip", tmp_path / "images.zip"), (copied / "points", copied / "images"),
    )]  # fmt: skip
    keys = [[item.key for item in objects] for objects, _ in found]
    assert keys[0] == keys[1]
    assert len(keys[0]) == sum(SPLITS.values())


def test_axes_of_the_set_are_turned_by_a_rotation():
    """The helper of these tests undoes what the packer does, so say once what that is: Blender's import of a .obj."""
    turned = as_shapenet(np.eye(3))
    assert turned.tolist() == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    assert np.linalg.det(turned) == 1
