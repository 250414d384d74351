"""Cameras, masks and part labels of objects: kept for all objects or none, and right to the pixel."""

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.errors import PackError
from ssl_core.meshes.household import HouseholdConfig
from ssl_core.packing.layout import find_objects
from ssl_core.packing.pack_writer import write_pack
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.scenes.inria import write_inria
from ssl_core.splatting.household_set import write_household
from tests.reference.projection import project

CONFIG = PackConfig(cached_points=32, starts=1)
CHAIR = "chair/train/chair_0001"


@pytest.fixture(scope="module")
def household(tmp_path_factory) -> Path:
    """Two objects per class, with cameras and masks of two views."""
    root = tmp_path_factory.mktemp("household")
    write_household(root, HouseholdConfig(train_per_class=1, test_per_class=1, views=2, image_size=32, gaussians=64))
    return root


@pytest.fixture
def copied(household, tmp_path) -> Path:
    """The chair of the set alone, to be changed."""
    for path in household.glob("*/chair/*/**/*.*"):
        target = tmp_path / "set" / path.relative_to(household)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "set"


def packed(root: Path, out: Path, config: PackConfig = CONFIG, *, images: bool = True, **options) -> Pack:
    return write_pack(root / "points", root / "images" if images else None, out, config, **options)


@pytest.mark.parametrize("images", [True, False], ids=["files", "rendered"])
def test_centres_of_gaussians_fall_on_the_mask(household, tmp_path, images):
    config = CONFIG.model_copy(update={"rendered_views": 2, "rendered_size": 32})
    pack = packed(household, tmp_path / "pack", config, images=images)
    assert pack.masks is not None
    for index, item in enumerate(pack.manifest.objects):
        for view in range(item.first_view, item.first_view + item.views):
            camera = pack.camera(view)
            assert camera is not None
            pixels, depth = project(camera, None, pack.rows_of(index)[:, :3])
            assert (depth > 0).all()
            columns, rows = np.clip(pixels.astype(int), 0, 31).T
            assert (pack.masks[view][rows, columns] > 0).mean() > 0.9
            assert (pack.masks[view] == 0).mean() > 0.2


def test_cameras_are_those_of_the_orbit_and_masks_those_of_the_files(household, tmp_path):
    pack = packed(household, tmp_path / "pack")
    for item in pack.manifest.objects:
        for i, camera in enumerate(orbit_cameras(2, 32)):
            found = pack.camera(item.first_view + i)
            assert found is not None
            np.testing.assert_allclose(found.viewmat, camera.viewmat, atol=1e-12)
            np.testing.assert_allclose(found.K, camera.K)
            mask = household / "images" / item.key / "masks" / f"{i:03d}.png"
            np.testing.assert_array_equal(pack.masks[item.first_view + i], np.asarray(Image.open(mask)))


@pytest.mark.parametrize(("of_files", "of_cameras"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_cameras_and_masks_meet_views_in_any_unicode_form(copied, tmp_path, of_files, of_cameras):
    for file in [*copied.glob("images/chair/*/*/*/00?.png")]:
        file.rename(file.with_name(normalize(of_files, f"vue_é_{file.name}")))
    for file in copied.glob("images/chair/*/*/cameras.json"):
        entries = json.loads(file.read_text())
        for entry in entries:
            entry["img_name"] = normalize(of_cameras, f"vue_é_{entry['img_name']}")
        file.write_text(json.dumps(entries))
    pack = packed(copied, tmp_path / "pack")
    assert pack.camera(0) is not None
    assert pack.masks is not None
    assert not pack.manifest.notes


def test_squeezed_pictures_squeeze_their_cameras(copied, tmp_path):
    for folder in copied.glob("images/chair/*/*"):
        cameras = orbit_cameras(2, 64)
        write_inria(folder / "cameras.json", ["000", "001"], cameras)
    camera = packed(copied, tmp_path / "pack").camera(0)
    assert camera is not None
    np.testing.assert_allclose(camera.K, orbit_cameras(1, 32)[0].K)
    assert (camera.width, camera.height) == (32, 32)


@pytest.mark.parametrize("opaque", [False, True])
def test_alpha_is_the_mask_where_it_says_something(copied, tmp_path, opaque):
    for file in copied.glob("images/*/*/*/masks/*.png"):
        file.unlink()
    for file in copied.glob("images/*/*/*/images/*.png"):
        picture = Image.open(file)
        picture.putalpha(255 if opaque else 200)
        picture.save(file)
    pack = packed(copied, tmp_path / "pack")
    assert (pack.masks is None) == opaque
    if pack.masks is not None:
        assert (pack.masks == 200).all()


def test_what_one_object_lacks_the_pack_keeps_of_none_and_says_so(copied, tmp_path):
    (copied / "images" / CHAIR / "cameras.json").unlink()
    (copied / "images" / CHAIR / "masks" / "001.png").unlink()
    pack = packed(copied, tmp_path / "pack")
    assert pack.masks is None
    assert pack.camera(0) is None
    assert pack.manifest.notes == {
        "no cameras of the views, so the pack keeps those of no object": 1,
        "no masks, so the pack keeps those of no object": 1,
    }


def test_cameras_of_other_pictures_are_noted_and_damaged_ones_refused(copied, tmp_path):
    file = copied / "images" / CHAIR / "cameras.json"
    write_inria(file, ["a", "b"], orbit_cameras(2, 32))
    notes = packed(copied, tmp_path / "pack").manifest.notes
    assert notes["cameras.json names other pictures, so it was not used"] == 1
    file.write_text('{"frames": 3}')
    with pytest.raises(PackError, match=r"cameras.json: is no list of cameras"):
        packed(copied, tmp_path / "other")


def label(root: Path) -> None:
    """Labels every Gaussian of every object by its place in the file."""
    for item in find_objects(root / "points", None)[0]:
        np.save(item.gaussians.path.with_name("point_cloud.parts.npy"), np.arange(64) % 7)


def test_part_labels_follow_their_gaussians(copied, tmp_path):
    label(copied)
    whole = packed(copied, tmp_path / "pack")
    assert whole.part_labels is not None
    plain = packed(copied, tmp_path / "plain", CONFIG.model_copy(update={"max_gaussians": 10}))
    assert plain.part_labels is not None
    from ssl_core.gaussians.gaussian_file import read_gaussians

    for pack in (whole, plain):
        for i, item in enumerate(find_objects(copied / "points", None)[0]):
            xyz = read_gaussians(item.gaussians).cloud.xyz
            first, rows = pack.manifest.objects[i].first_row, pack.rows_of(i)[:, :3]
            places = [int(np.flatnonzero((xyz == row).all(axis=1))[0]) for row in rows]
            assert pack.part_labels[first : first + len(rows)].tolist() == [place % 7 for place in places]


@pytest.mark.parametrize("labels", [np.arange(63), np.arange(64.0), np.full(64, -1), np.full(64, 2**15)])
def test_labels_that_do_not_fit_are_refused(copied, tmp_path, labels):
    label(copied)
    np.save(next(copied.glob("points/chair/train/*/point_cloud/*/point_cloud.parts.npy")), labels)
    with pytest.raises(PackError, match=r"parts.npy: expected 64 integers from 0 to 32767"):
        packed(copied, tmp_path / "pack")


def test_an_update_copies_them(copied, tmp_path):
    label(copied)
    packed(copied, tmp_path / "pack")
    changed = next(copied.glob("images/chair/test/*/images/000.png"))
    Image.open(changed).rotate(90).save(changed)
    updated = packed(copied, tmp_path / "pack", update=True)
    assert updated.files == packed(copied, tmp_path / "fresh").files
    assert {"masks.npy", "viewmats.npy", "intrinsics.npy", "part_labels.npy"} < updated.files.keys()


def test_changed_cameras_are_other_input(copied, tmp_path):
    packed(copied, tmp_path / "pack")
    write_inria(copied / "images" / CHAIR / "cameras.json", ["000", "001"], orbit_cameras(2, 32, radius=3))
    with pytest.raises(PackError, match="1 changed"):
        packed(copied, tmp_path / "pack")


def test_a_pack_of_schema_2_is_read_and_keeps_its_digest(copied, tmp_path):
    for file in (*copied.glob("images/*/*/*/masks/*"), *copied.glob("images/*/*/*/cameras.json")):
        file.unlink()
    pack = packed(copied, tmp_path / "pack")
    file = pack.path / "manifest.json"
    values = json.loads(file.read_text())
    assert (values.pop("kind"), values["schema_version"]) == ("object", 3)
    file.write_text(json.dumps(values | {"schema_version": 2}))
    old = Pack.open(pack.path)
    assert old.manifest.content_digest() == old.digest == pack.digest
    assert old.masks is None
    assert old.camera(0) is None
    assert old.part_labels is None
    assert packed(copied, pack.path).manifest.schema_version == 2, "it is up to date"


def test_shapesplats_flat_files_may_have_them(tmp_path):
    names = ["points/train.txt", "points/test.txt", "points/1-a.ply", "points/1-a.parts.npy"]
    names += ["images/1-a/images/0.png", "images/1-a/masks/0.png", "images/1-a/cameras.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1-a" if name.endswith("train.txt") else "")
    (item,), problems = find_objects(tmp_path / "points", tmp_path / "images")
    assert not problems
    assert [source.path.relative_to(tmp_path).as_posix() for source in item.sources] == [
        "points/1-a.ply",
        "images/1-a/images/0.png",
        "images/1-a/masks/0.png",
        "images/1-a/cameras.json",
        "points/1-a.parts.npy",
    ]
