"""Camera files that lie, break off or make no sense are refused by name and place; nothing else ever happens."""

import json
import struct
import time

import numpy as np
import pytest
from camera_writers import CAMERAS, NAMES, POINTS, Model, blender, inria, nerfstudio, write_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssl_core.errors import CameraError
from ssl_core.inspect.scene_facts import describe_scene, format_scene
from ssl_core.scenes.camera_files import read_scene


def changed(key, value, frame=True):
    content = nerfstudio(CAMERAS, NAMES)
    (content["frames"][2] if frame else content)[key] = value
    return content


POSE = nerfstudio(CAMERAS, NAMES)["frames"][2]["transform_matrix"]
SCALED = (np.array(POSE) * [[2], [2], [2], [1]]).tolist()
MIRRORED = (np.array(POSE) * [-1, 1, 1, 1]).tolist()
NOT_A_NUMBER = [[float("nan"), *POSE[0][1:]], *POSE[1:]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed("transform_matrix", SCALED), r"frames\[2\].*no rotation \(column lengths 2, 2, 2\)"),
        (changed("transform_matrix", MIRRORED), r"frames\[2\].*mirrors"),
        (changed("transform_matrix", NOT_A_NUMBER), r"transform_matrix\[0\]\[0\] is not finite"),
        (changed("transform_matrix", [[1, 0], [0, 1]]), "a list of 2, expected 3 or 4 rows"),
        (changed("transform_matrix", [*POSE[:3], [0, 0, 1, 1]]), "last row"),
        (changed("transform_matrix", None), "is missing, expected"),
        (changed("transform_matrix", [[*row[:3], 1e300] for row in POSE[:3]]), "units away"),
        (changed("fl_x", 0), "focal length is 0"),
        (changed("fl_x", "70"), "fl_x is the text '70', expected a number"),
        (changed("fl_x", 10**400), "fl_x is not finite"),
        (changed("fl_x", True), "fl_x is True, expected a number"),
        (changed("w", 1e12), "w is 1e"),
        (changed("h", 48.5), "h is 48.5"),
        (changed("file_path", "train/r_1"), r"frames\[2\] has the file_path 'train/r_1' of one before"),
        (changed("file_path", 7), "file_path is 7, expected a name"),
        (changed("camera_model", "EQUIRECTANGULAR"), "camera_model 'EQUIRECTANGULAR' is not supported"),
        (changed("frames", [], frame=False), "no list of frames"),
        (changed("frames", [3], frame=False), r"frames\[0\]: is 3"),
        ({"frames": blender(CAMERAS, NAMES)["frames"]}, "gives no w and h and its image is not under"),
        ([], "lists 0 cameras"),
        ([*inria(CAMERAS, NAMES), inria(CAMERAS, NAMES)[0]], "camera 5 has the img_name 'train/r_0'"),
        ("text", "expected an object"),
    ],
)
def test_json_refusals_name_the_frame(tmp_path, content, message):
    path = write_json(tmp_path / "transforms.json", content)
    with pytest.raises(CameraError, match=message) as caught:
        read_scene(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no valid JSON"),
        (b'{"frames": [', "is no valid JSON"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[" + b"1," * 3_000_001, "holds about 3,000,002 values"),
        (b"[1" + b"1" * 5000 + b"]", "is no valid JSON"),
    ],
)
def test_damaged_json(tmp_path, content, message):
    (tmp_path / "cameras.json").write_bytes(content)
    with pytest.raises(CameraError, match=message):
        read_scene(tmp_path / "cameras.json")


def test_counts_that_the_file_cannot_hold_are_refused_at_once(tmp_path):
    for file in ("cameras", "images", "points3D"):
        folder = Model.of(CAMERAS, NAMES, POINTS).write_binary(tmp_path / file)
        content = (folder / f"{file}.bin").read_bytes()
        for claim in (2**60, 2**64 - 1, struct.unpack("<Q", content[:8])[0] + 400):
            (folder / f"{file}.bin").write_bytes(struct.pack("<Q", claim) + content[8:])
            start = time.monotonic()
            with pytest.raises(CameraError, match=rf"{file}.bin: offset 0: claims {claim:,}"):
                read_scene(folder)
            assert time.monotonic() - start < 5


def test_truncated_binaries_name_the_offset(tmp_path):
    folder = Model.of(CAMERAS, NAMES, POINTS).write_binary(tmp_path)
    for file in ("cameras", "images", "points3D"):
        content = (folder / f"{file}.bin").read_bytes()
        for length in range(len(content)):
            (folder / f"{file}.bin").write_bytes(content[:length])
            with pytest.raises(CameraError, match=rf"{file}\.bin: offset \d+"):
                read_scene(folder)
        (folder / f"{file}.bin").write_bytes(content + b"\0")
        with pytest.raises(CameraError, match=rf"offset {len(content)}: 1 bytes follow"):
            read_scene(folder)
        (folder / f"{file}.bin").write_bytes(content)
    read_scene(folder)


def test_models_that_contradict_themselves(tmp_path):
    def refused(message, change):
        model = Model.of(CAMERAS, NAMES, POINTS)
        change(model)
        for write in (model.write_binary, model.write_text):
            with pytest.raises(CameraError, match=message):
                read_scene(write(tmp_path / write.__name__))

    def image(i, **values):
        def change(model):
            row = dict(zip(("key", "camera", "name", "q", "t", "seen"), model.images[i], strict=True)) | values
            model.images[i] = tuple(row.values())

        return change

    refused("image 3 is there twice", image(1, key=3))
    refused("has the name of another", image(1, name="train/r_0"))
    refused("names camera 8, which is not", image(1, camera=8))
    refused("quaternion is zero", image(1, q=(0, 0, 0, 0)))
    refused("quaternion is zero or not finite", image(1, q=(0, 0, 0, np.nan)))
    refused("units away", image(1, t=(0, 0, np.inf)))
    refused("has no image", lambda model: model.images.clear())
    refused("focal length", lambda model: model.cameras.update({7: ("PINHOLE", 64, 48, (0, 70.5, 32, 24))}))
    refused("not finite", lambda model: model.cameras.update({7: ("PINHOLE", 64, 48, (np.nan, 70.5, 32, 24))}))
    refused("image side", lambda model: model.cameras.update({7: ("PINHOLE", 2**40, 48, (70, 70.5, 32, 24))}))
    refused("holds a point twice", lambda model: model.points.append(model.points[0]))
    refused("1 points are not finite", lambda model: model.points.append((99, (0, np.nan, 0), (0, 0, 0), [])))


def test_unknown_camera_models_are_refused_by_name(tmp_path):
    model = Model.of(CAMERAS, NAMES)
    for number, message in ((7, "'FOV' is not supported"), (10, "THIN_PRISM_FISHEYE"), (99, "number 99"), (-1, "-1")):
        model.cameras[7] = (number, 64, 48, (70.5, 70.5, 32, 24, 0.1))
        with pytest.raises(CameraError, match=message):
            read_scene(model.write_binary(tmp_path / "b"))
    model.cameras[7] = ("FOV", 64, 48, (70.5, 70.5, 32, 24, 0.1))
    with pytest.raises(CameraError, match=r"cameras.txt: line 2: camera model 'FOV' is not supported"):
        read_scene(model.write_text(tmp_path / "t"))
    model.cameras[7] = ("PINHOLE", 64, 48, (70.5, 70.5, 32))
    with pytest.raises(CameraError, match="3 parameters for PINHOLE; expected 4"):
        read_scene(model.write_text(tmp_path / "t"))


@pytest.mark.parametrize("name", ["nothing.json", "a.bin", "x" * 5000])
def test_what_is_no_camera_file(tmp_path, name):
    (tmp_path / "a.bin").write_bytes(b"a")
    with pytest.raises(CameraError, match=r"there is no such camera file|is no known camera file"):
        read_scene(tmp_path / name)


# --- anything else ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """name -> (file to change, place to read)."""
    root = tmp_path_factory.mktemp("whole")
    binary = Model.of(CAMERAS, NAMES, POINTS, "OPENCV", (0.1, 0, 0, 0)).write_binary(root / "binary")
    plain = Model.of(CAMERAS, NAMES, POINTS).write_text(root / "text")
    files = {f"{n}{e}": (f / f"{n}{e}", f) for n in ("cameras", "images", "points3D") for e, f in
             ((".bin", binary), (".txt", plain))}  # fmt: skip
    for name, content in (("inria", inria(CAMERAS, NAMES)), ("transforms", nerfstudio(CAMERAS, NAMES, k1=0.1))):
        file = write_json(root / f"{name}.json", content)
        files[name] = (file, file)
    return {name: (file, place, file.read_bytes()) for name, (file, place) in files.items()}


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_files_are_read_or_refused(whole, data):
    file, place, content = whole[data.draw(st.sampled_from(sorted(whole)))]
    mutated = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated)))
        match data.draw(st.sampled_from(("set", "cut", "insert", "drop", "word"))):
            case "set" if at < len(mutated):
                mutated[at] = data.draw(st.integers(0, 255))
            case "cut":
                del mutated[at:]
            case "insert":
                mutated[at:at] = data.draw(st.binary(max_size=12) | st.sampled_from((b"NaN", b"-1e999", b"[[", b"\0")))
            case "drop":
                del mutated[at : at + data.draw(st.integers(1, 40))]
            case "word":
                mutated[at : at + 8] = data.draw(st.sampled_from((b"\xff" * 8, bytes(8), struct.pack("<d", np.inf))))
    file.write_bytes(mutated)
    refusal = ""
    try:
        scene = read_scene(place)
    except CameraError as error:
        refusal = str(error)
    else:
        assert all(np.isfinite(view.camera.viewmat).all() and np.isfinite(view.camera.K).all() for view in scene.views)
        json.dumps(describe_scene(scene), allow_nan=False)
        format_scene(describe_scene(scene))
    finally:
        file.write_bytes(content)
    assert not refusal or (str(file.parent) in refusal and "\n" not in refusal)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=300), name=st.sampled_from(("cameras.bin", "cameras.txt", "cameras.json")))
def test_random_bytes_are_refused(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("random")
    (folder / name).write_bytes(content)
    with pytest.raises(CameraError):
        read_scene(folder / name)
