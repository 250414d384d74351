"""Camera files become the same cameras whatever wrote them, or are refused by name and place."""

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from camera_writers import CAMERAS, NAMES, POINTS, Model, blender, inria, nerfstudio, read_observations, write_json
from PIL import Image

from ssl_core.errors import CameraError
from ssl_core.inspect.scene_facts import describe_scene, format_scene, nearest_point
from ssl_core.scenes.camera_files import read_scene
from ssl_core.scenes.cameras import Distortion, look_at
from tests.reference.projection import project


def write_images(root: Path, names, suffix: str = ".png", size=(64, 48)) -> None:
    for name in names:
        file = root / (name + suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(file)


def assert_same(scene, cameras, names, tolerance=1e-9) -> None:
    by_name = {view.name: view.camera for view in scene.views}
    assert set(by_name) == set(names)
    for name, camera in zip(names, cameras, strict=True):
        found = by_name[name]
        np.testing.assert_allclose(found.viewmat, camera.viewmat, atol=tolerance)
        np.testing.assert_allclose(found.K, camera.K, rtol=1e-9)
        assert (found.width, found.height) == (camera.width, camera.height)
        assert found.viewmat.dtype == found.K.dtype == np.float64


# --- round trips -----------------------------------------------------------------------------------------------------


def test_every_format_gives_back_the_cameras_it_was_written_from(tmp_path):
    write_images(tmp_path / "b", NAMES)
    made = {
        "inria": write_json(tmp_path / "a/cameras.json", inria(CAMERAS, NAMES)),
        "blender": write_json(tmp_path / "b/transforms_train.json", blender(CAMERAS, NAMES)),
        "nerfstudio": write_json(tmp_path / "c/transforms.json", nerfstudio(CAMERAS, NAMES)),
        "instant-ngp": write_json(
            tmp_path / "d/transforms.json", nerfstudio(CAMERAS, NAMES, aabb_scale=16, w=64.0, h=48.0)
        ),
        "colmap binary": Model.of(CAMERAS, NAMES, POINTS).write_binary(tmp_path / "e/sparse/0"),
        "colmap text": Model.of(CAMERAS, NAMES, POINTS).write_text(tmp_path / "f/sparse/0"),
    }
    for form, path in made.items():
        scene = read_scene(path)
        assert scene.format == form
        assert_same(scene, CAMERAS, NAMES)
        if path.name == "transforms_train.json":
            assert {view.split for view in scene.views} == {"train"}


def test_a_blender_camera_at_a_known_pose_looks_at_the_known_point(tmp_path):
    # Blender: an unrotated camera looks down its -z with y up; this one stands at (1, 2, 5) above (1, 2, 0)
    pose = [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 5], [0, 0, 0, 1]]
    frames = [{"file_path": "x", "transform_matrix": pose}]
    path = write_json(tmp_path / "transforms.json", {"camera_angle_x": 0.8, "w": 100, "h": 60, "frames": frames})
    (view,) = read_scene(path).views
    np.testing.assert_allclose(view.camera.position, (1, 2, 5))
    pixels, depth = project(view.camera, None, [[1, 2, 0], [2, 2, 0], [1, 3, 0]])
    np.testing.assert_allclose(depth, 5)
    np.testing.assert_allclose(pixels[0], (50, 30))
    assert pixels[1][0] > 50  # world x to the right
    assert pixels[2][1] < 30  # world y upwards in the picture


def test_text_and_binary_of_one_model_agree_to_the_last_bit(tmp_path):
    model = Model.of(CAMERAS, ["a b.png", "ä/ö.png", *NAMES[2:]], POINTS, "OPENCV", (0.1, -0.02, 0.003, 1e-4))
    one, two = read_scene(model.write_binary(tmp_path / "b")), read_scene(model.write_text(tmp_path / "t"))
    assert [view.name for view in one.views] == [view.name for view in two.views]
    for a, b in zip(one.views, two.views, strict=True):
        assert a.camera.viewmat.tobytes() == b.camera.viewmat.tobytes()
        assert a.camera.K.tobytes() == b.camera.K.tobytes()
        assert a.distortion == b.distortion == Distortion("perspective", (0.1, -0.02), (0.003, 1e-4))
    np.testing.assert_array_equal(one.points.xyz, two.points.xyz)
    np.testing.assert_array_equal(one.points.xyz, POINTS)
    np.testing.assert_array_equal(one.points.colours, two.points.colours)


# --- real scenes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "tolerance"), [("distorted/sparse/0", 1e-9), ("sparse/0", 0.06)])
def test_colmap_points_are_seen_where_they_were_observed(shared_data, model, tolerance):
    """The mean error of each point is the one COLMAP wrote beside it; undistorting kept the errors of before."""
    folder = shared_data / "scenes/colmap_fox9" / model
    scene = read_scene(folder)
    seen, rows, recorded = read_observations(folder)
    assert len(scene.views) == 9
    assert len(scene.points) == len(recorded) == 1457
    assert all(view.image is not None for view in scene.views)
    total, count = np.zeros(1457), np.zeros(1457)
    for view in scene.views:
        observed = seen[view.name][seen[view.name]["point"] >= 0]
        index = [rows[point] for point in observed["point"].tolist()]
        pixels, depth = project(view.camera, view.distortion, scene.points.xyz[index])
        assert (depth > 0).all()
        np.add.at(total, index, np.linalg.norm(pixels - observed["xy"], axis=1))
        np.add.at(count, index, 1)
    assert count.sum() == 3775
    assert total.sum() / count.sum() < 0.7
    np.testing.assert_allclose(total / count, recorded, atol=tolerance)


def test_the_whole_scene_folder_and_its_pictures(shared_data):
    scene = read_scene(shared_data / "scenes/colmap_fox9")
    assert scene.path.parts[-2:] == ("sparse", "0")
    assert {view.image.parent.name for view in scene.views} == {"images"}
    bent = read_scene(shared_data / "scenes/colmap_fox9/distorted/sparse/0")
    assert {view.image.parent.name for view in bent.views} == {"input"}
    assert scene.notes == bent.notes == ()


def test_the_duck_is_found_without_prefix_ending_or_size(shared_data):
    folder = shared_data / "scenes/blender_duck"
    scene = read_scene(folder)
    assert describe_scene(scene)["splits"] == {"train": 97, "val": 32, "test": 32}
    assert scene.notes == ()
    assert {(view.camera.width, view.camera.height) for view in scene.views} == {(224, 224)}
    assert scene.views[0].image == folder / "rgb/train/r_0.png"
    content = json.loads((folder / "transforms_train.json").read_text())
    target = np.array(content["object_position"])
    # the duck stands in the middle of its pictures, and all axes meet there
    for view in scene.views:
        pixels, depth = project(view.camera, None, target[None])
        assert depth[0] > 1
        np.testing.assert_allclose(pixels[0], (112, 112), atol=2)
    np.testing.assert_allclose(describe_scene(scene)["looked_at"], target, atol=0.05)


# --- spellings -------------------------------------------------------------------------------------------------------


def test_a_frame_may_have_its_own_lens_and_size(tmp_path):
    content = nerfstudio(CAMERAS, NAMES, k1=0.1, k2=0.01, p1=0.001, p2=0.002, applied_transform=[[1, 0, 0, 0]])
    content["frames"][1] |= {"fl_x": 50.0, "fl_y": 51.0, "cx": 10.0, "cy": 11.0, "w": 100, "h": 90, "k1": 0.0}
    content["frames"][2] |= {"camera_model": "OPENCV_FISHEYE"}
    content["frames"][3] |= {"camera_angle_x": 1.0}
    views = read_scene(write_json(tmp_path / "transforms.json", content)).views
    assert views[0].distortion == Distortion("perspective", (0.1, 0.01, 0, 0), (0.001, 0.002))
    np.testing.assert_array_equal(views[1].camera.K, [[50, 0, 10], [0, 51, 11], [0, 0, 1]])
    assert (views[1].camera.width, views[1].camera.height) == (100, 90)
    assert views[1].distortion.radial[0] == 0
    assert views[2].distortion.kind == "fisheye"
    assert views[3].camera.K[0, 0] == pytest.approx(32 / np.tan(0.5))
    assert "applied_transform" in read_scene(tmp_path).notes[0]


def test_focal_lengths_in_all_spellings(tmp_path):
    for values, fx, fy in [
        ({"fl_x": 80.0}, 80, 80),
        ({"fl_y": 80.0}, 80, 80),
        ({"camera_angle_x": 2 * np.arctan(0.4), "camera_angle_y": 2 * np.arctan(0.3)}, 80, 80),
        ({"x_fov": np.degrees(2 * np.arctan(0.4))}, 80, 80),
        ({"fl_x": 80.0, "fl_y": 90.0, "camera_angle_x": 1.0}, 80, 90),
    ]:
        content = {"w": 64.0, "h": 48, "frames": blender(CAMERAS, NAMES)["frames"], **values}
        K = read_scene(write_json(tmp_path / "transforms.json", content)).views[0].camera.K
        np.testing.assert_allclose(K, [[fx, 0, 32], [0, fy, 24], [0, 0, 1]])


@pytest.mark.parametrize(
    ("kind", "extra", "expected"),
    [
        ("SIMPLE_PINHOLE", (), None),
        ("SIMPLE_RADIAL", (0.2,), Distortion("perspective", (0.2,))),
        ("RADIAL", (0.2, 0.1), Distortion("perspective", (0.2, 0.1))),
        ("OPENCV", (0.1, 0.2, 0.3, 0.4), Distortion("perspective", (0.1, 0.2), (0.3, 0.4))),
        ("OPENCV", (0.0, 0.0, 0.0, 0.0), None),
        ("OPENCV_FISHEYE", (0.1, 0.2, 0.3, 0.4), Distortion("fisheye", (0.1, 0.2, 0.3, 0.4))),
    ],
)
def test_colmap_camera_models(tmp_path, kind, extra, expected):
    for scene in (
        read_scene(Model.of(CAMERAS, NAMES, (), kind, extra).write_binary(tmp_path / "b")),
        read_scene(Model.of(CAMERAS, NAMES, (), kind, extra).write_text(tmp_path / "t")),
    ):
        assert_same(scene, CAMERAS, NAMES)
        assert {view.distortion for view in scene.views} == {expected}
        assert len(scene.points) == 0


def test_lens_formulas():
    xy = np.array([[0.3, -0.2], [0.0, 0.0]])
    r2 = 0.13
    opencv = Distortion("perspective", (0.1, 0.2), (0.03, 0.04), (0.5,))(xy)
    factor = (1 + 0.1 * r2 + 0.2 * r2**2) / (1 + 0.5 * r2)
    x = 0.3 * factor + 2 * 0.03 * 0.3 * -0.2 + 0.04 * (r2 + 2 * 0.09)
    y = -0.2 * factor + 2 * 0.04 * 0.3 * -0.2 + 0.03 * (r2 + 2 * 0.04)
    np.testing.assert_allclose(opencv, [[x, y], [0, 0]], atol=1e-15)
    angle = np.arctan(np.sqrt(r2))
    fisheye = Distortion("fisheye", (0.1, 0.2))(xy)
    bent = angle * (1 + 0.1 * angle**2 + 0.2 * angle**4) / np.sqrt(r2)
    np.testing.assert_allclose(fisheye, [[0.3 * bent, -0.2 * bent], [0, 0]], atol=1e-15)


def test_priority_in_a_folder_that_holds_everything(tmp_path):
    write_images(tmp_path, NAMES)
    order = [
        ("colmap binary", lambda: Model.of(CAMERAS, NAMES).write_binary(tmp_path / "colmap/sparse/0")),
        ("inria", lambda: write_json(tmp_path / "cameras.json", inria(CAMERAS, NAMES))),
        ("blender", lambda: write_json(tmp_path / "transforms_train.json", blender(CAMERAS, NAMES))),
        ("nerfstudio", lambda: write_json(tmp_path / "transforms.json", nerfstudio(CAMERAS, NAMES))),
        ("colmap text", lambda: Model.of(CAMERAS, NAMES).write_text(tmp_path / "sparse")),
        ("colmap binary", lambda: Model.of(CAMERAS, NAMES).write_binary(tmp_path / "sparse/0")),
    ]
    with pytest.raises(CameraError, match="holds no camera files; looked for"):
        read_scene(tmp_path)
    for expected, write in order:
        write()
        scene = read_scene(tmp_path)
        assert scene.format == expected
        assert all(view.image is not None for view in scene.views)


# --- pictures --------------------------------------------------------------------------------------------------------


def test_names_that_lead_out_of_the_scene_are_kept_and_not_opened(tmp_path):
    write_images(tmp_path, ["secret"])
    root = tmp_path / "scene"
    root.mkdir()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    names = ["../secret", str(tmp_path / "secret"), "link", "a\\..\\..\\secret", "C:/secret"]
    scene = read_scene(write_json(root / "transforms.json", nerfstudio(CAMERAS, names)))
    assert [view.name for view in scene.views] == names
    assert all(view.image is None for view in scene.views)
    assert any(note.startswith("5 of 5 images are named outside") for note in scene.notes)


def test_of_two_pictures_of_a_name_the_one_of_the_right_size_is_taken(tmp_path):
    write_images(tmp_path / "images", ["a"], ".JPG", (32, 24))
    write_images(tmp_path / "input", ["a"], ".JPG", (64, 48))
    scene = read_scene(Model.of(CAMERAS[:1], ["a.JPG"]).write_binary(tmp_path / "sparse/0").parent.parent)
    assert scene.views[0].image == (tmp_path / "input/a.JPG").absolute()
    (tmp_path / "input/a.JPG").unlink()
    scene = read_scene(tmp_path)
    assert scene.views[0].image.parent.name == "images"
    assert "is 32 x 24, its camera's picture 64 x 48" in scene.notes[0]


@pytest.mark.parametrize(("of_names", "of_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
@pytest.mark.parametrize("form", ["inria", "nerfstudio", "colmap binary", "colmap text"])
def test_pictures_are_found_in_any_unicode_form(tmp_path, form, of_names, of_disk):
    named = [normalize(of_names, f"côté/vue_é{i}") for i in range(5)]
    write_images(tmp_path / "images", [normalize(of_disk, f"côté/vue_é{i}") for i in range(5)])
    match form:
        case "inria":
            write_json(tmp_path / "cameras.json", inria(CAMERAS, named))
        case "nerfstudio":
            write_json(tmp_path / "transforms.json", nerfstudio(CAMERAS, named))
        case "colmap binary":
            Model.of(CAMERAS, named, POINTS).write_binary(tmp_path / "sparse/0")
        case _:
            Model.of(CAMERAS, named, POINTS).write_text(tmp_path / "sparse/0")
    scene = read_scene(tmp_path)
    assert scene.format == form
    assert [view.name for view in scene.views] == [f"côté/vue_é{i}" for i in range(5)]
    assert all(view.image is not None and view.image.is_file() for view in scene.views)


# --- inspection ------------------------------------------------------------------------------------------------------


def test_facts_of_a_scene(tmp_path):
    scene = read_scene(Model.of(CAMERAS, NAMES, POINTS).write_binary(tmp_path / "sparse/0"))
    facts = describe_scene(scene)
    assert facts["views"] == 5
    assert facts["image_sizes"] == {"64x48": 5}
    assert facts["focal"]["0.5"] == 70.5
    assert facts["field_of_view"]["1"] == pytest.approx(np.degrees(2 * np.arctan(32 / 70.5)))
    assert facts["points"]["count"] == 9
    np.testing.assert_allclose(facts["looked_at"], 0, atol=1e-9)
    np.testing.assert_allclose(facts["distance"]["1"], 2.6)
    text = format_scene(facts)
    for expected in ("colmap binary", "5, 0 with their image", "64 x 48 (5)", "70.5 px", "5 of 5 images are not under"):
        assert expected in text


def test_parallel_axes_meet_nowhere():
    position = np.array([[0.0, 0, 0], [1, 0, 0]])
    axes = np.array([look_at(p, p + np.array([0, 0, 1]))[2, :3] for p in position])
    assert nearest_point(position, axes) is None
    assert nearest_point(position[:1], axes[:1]) is None
