"""`transforms.json` and its kin: Blender's NeRF scenes, nerfstudio and instant-ngp.

All have `frames` with `file_path` and `transform_matrix`, camera to world with OpenGL's camera axes (x right, y up,
looking along -z). Intrinsics stand beside `frames` or in a frame, which then counts for that frame, in many spellings.
Descriptions: bmild/nerf `load_blender.py`; docs.nerf.studio "Data conventions"; NVlabs/instant-ngp
`docs/nerf_dataset_tips.md` and its `nerf_loader.cu` for what it accepts. nerfstudio's `mask_path`, `depth_file_path`,
`ply_file_path` and `train_filenames`, `val_filenames`, `test_filenames` count where they stand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssl_core.errors import CameraError
from ssl_core.files.unicode_names import nfc
from ssl_core.scenes.cameras import (
    MAX_VIEWS,
    CameraScene,
    CameraView,
    Distortion,
    SceneFormat,
    ScenePoints,
    SceneSplit,
    distortion,
)
from ssl_core.scenes.checked_values import (
    FLIP_YZ,
    MAX_SIDE,
    from_camera_to_world,
    mapping,
    matrix,
    optional_number,
    pinhole,
    quoted,
    text,
)
from ssl_core.scenes.scene_images import SceneImages, image_size
from ssl_core.scenes.scene_points import read_scene_points

PERSPECTIVE = ("PERSPECTIVE", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
FISHEYE = ("FISHEYE", "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
NO_PINHOLE = ("is_equirectangular", "is_latlong", "ftheta_p0")
INTRINSICS = ("w", "h", "cx", "cy", "camera_model", "is_fisheye", *COEFFICIENTS, *NO_PINHOLE)
"""Keys whose value in the frame counts, else the one beside the frames."""

Values = Mapping[str, Any]


def read_transforms(path: Path, files: Sequence[tuple[Path, SceneSplit | None, Any]]) -> CameraScene:
    """The views of one or more files of the same folder, in order: (file, the split its name says, its parsed content).

    Raises CameraError: as `read_scene`; names the frame.
    """
    images, beside = SceneImages(files[0][0].parent), SceneImages(files[0][0].parent, ("",))
    points: ScenePoints | None = None
    views: dict[str, CameraView] = {}
    notes: dict[str, None] = {}
    formats: list[SceneFormat] = []
    for file, split, content in files:
        top = mapping(content, str(file))
        frames = top.get("frames")
        if not isinstance(frames, list) or not 0 < len(frames) <= MAX_VIEWS:
            raise CameraError(f"{file}: has no list of frames; expected 1 to {MAX_VIEWS:,} of them")
        formats.append(_format(top, frames[0]))
        notes |= dict.fromkeys(_notes(top, frames))
        splits = _listed_splits(top, str(file))
        points = points or _points(top, file, beside)
        for i, frame in enumerate(frames):
            view = _view(top, frame, f"{file}: frames[{i}]", images, split)
            view = _with_maps(replace(view, split=splits.get(view.name, split)), frame, beside)
            if view.name in views:
                raise CameraError(
                    f"{file}: frames[{i}] has the file_path {quoted(view.name)} of one before it; name each once"
                )
            views[view.name] = view
    if beside.missing or beside.outside:
        notes[f"{beside.missing + beside.outside} masks, depths or point files that it names are not there"] = None
    return CameraScene(path, formats[0], tuple(views.values()), points, (*notes, *images.notes(len(views))))


def _with_maps(view: CameraView, frame: Values, beside: SceneImages) -> CameraView:
    """The view with the mask and depth that its frame names, as far as they are there."""
    mask, depth = (
        beside.find(name) if isinstance(name := frame.get(key), str) and name else None
        for key in ("mask_path", "depth_file_path")
    )
    return replace(view, mask=mask, depth=depth)


def _listed_splits(top: Values, where: str) -> dict[str, SceneSplit]:
    """The split of the views that a file's lists name. Raises CameraError: no lists of names, or a view in two."""
    found: dict[str, SceneSplit] = {}
    splits: tuple[SceneSplit, ...] = ("train", "val", "test")
    for split in splits:
        names = top.get(f"{split}_filenames", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CameraError(f"{where}: {split}_filenames is no list of names; mend it or leave it out")
        for name in map(nfc, names):
            if found.setdefault(name, split) != split:
                raise CameraError(f"{where}: {quoted(name)} is in {found[name]}_filenames and {split}_filenames")
    return found


def _points(top: Values, file: Path, beside: SceneImages) -> ScenePoints | None:
    """The points of the file's ply_file_path. Raises CameraError: they cannot be read."""
    name = top.get("ply_file_path")
    place = beside.find(name) if isinstance(name, str) and name else None
    return None if place is None else read_scene_points(place)


def _view(top: Values, frame: Any, where: str, images: SceneImages, split: SceneSplit | None) -> CameraView:
    frame = mapping(frame, where)
    name = nfc(text(frame, "file_path", where))
    where = f"{where} ({quoted(name)})"
    rolls = "transform_matrix" not in frame and "transform_matrix_start" in frame
    key = "transform_matrix_start" if rolls else "transform_matrix"
    pose = matrix(frame, key, where, (3, 4), 4)
    if len(pose) == 4 and np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise CameraError(f"{where}: the last row of {key} is not 0 0 0 1; write camera to world, row by row")
    rotation, translation = from_camera_to_world(pose[:3, :3] @ FLIP_YZ, pose[:3, 3], where)
    values = {key: top.get(key) if frame.get(key) is None else frame[key] for key in INTRINSICS}
    claimed = _size(values, where)
    image = images.find(name, claimed)
    if claimed is not None:
        width, height = claimed
    elif image is not None:
        width, height = image_size(image)
    else:
        raise CameraError(f"{where}: gives no w and h and its image is not under {images.root}; add either")
    focal = _focal_lengths(frame, top, where, width, height)
    cx, cy = (optional_number(values, key, where) for key in ("cx", "cy"))
    centre = (width / 2 if cx is None else cx, height / 2 if cy is None else cy)
    camera = pinhole(where, rotation, translation, focal, centre, (width, height))
    return CameraView(name, camera, image, _lens(values, where), split)


def _size(values: Values, where: str) -> tuple[int, int] | None:
    """Width and height where both are given; instant-ngp writes them with a decimal point."""
    width, height = (optional_number(values, key, where) for key in "wh")
    if width is None or height is None:
        return None
    for key, side in (("w", width), ("h", height)):
        if not 1 <= side <= MAX_SIDE or not side.is_integer():
            raise CameraError(f"{where}: {key} is {side:g}; expected a whole number from 1 to {MAX_SIDE:,}")
    return int(width), int(height)


def _focal_lengths(frame: Values, top: Values, where: str, width: int, height: int) -> tuple[float, float]:
    """Horizontal and vertical focal length in pixels; one that is not given equals the other.

    In each place fl_x and fl_y come before camera_angle_x and camera_angle_y (radians), these before instant-ngp's
    x_fov and y_fov (degrees); a frame's own value of any spelling comes before the file's.

    Raises CameraError: neither is given, or an angle is not between 0 and 180 degrees.
    """
    across = _focal((frame, top), "x", width, where)
    down = _focal((frame, top), "y", height, where)
    either = across if across is not None else down
    if either is None:
        raise CameraError(f"{where}: gives no focal length; add fl_x in pixels or camera_angle_x in radians")
    return either, either if down is None else down


def _focal(places: tuple[Values, Values], axis: Literal["x", "y"], side: int, where: str) -> float | None:
    for values in places:
        focal = optional_number(values, f"fl_{axis}", where)
        if focal is not None:
            return focal
        angle = optional_number(values, f"camera_angle_{axis}", where)
        degrees = optional_number(values, f"{axis}_fov", where)
        if angle is None and degrees is not None:
            angle = math.radians(degrees)
        if angle is not None:
            if not 1e-6 < angle < math.pi - 1e-6:
                raise CameraError(f"{where}: a field of view of {angle:g} radians; expected above 0, below pi")
            return side / 2 / math.tan(angle / 2)
    return None


def _lens(values: Values, where: str) -> Distortion | None:
    """The lens. k3 and k4 of a perspective camera are further coefficients of the radial polynomial, as in nerfstudio.

    Raises CameraError: a camera model that is neither perspective nor fisheye.
    """
    model = values.get("camera_model")
    if model is not None and model not in PERSPECTIVE + FISHEYE:
        known = ", ".join(PERSPECTIVE + FISHEYE)
        raise CameraError(f"{where}: camera_model {quoted(model)} is not supported; expected one of {known}")
    for key in NO_PINHOLE:
        if values.get(key):
            raise CameraError(f"{where}: {key} asks for a lens that is no pinhole; undistort the images first")
    k1, k2, k3, k4, p1, p2 = (optional_number(values, key, where) or 0.0 for key in COEFFICIENTS)
    if model in FISHEYE or values.get("is_fisheye") is True:
        return distortion("fisheye", (k1, k2, k3, k4))
    return distortion("perspective", (k1, k2, k3, k4), (p1, p2))


def _format(top: Values, frame: Any) -> SceneFormat:
    keys = {*top, *(frame if isinstance(frame, dict) else ())}
    if "aabb_scale" in keys:
        return "instant-ngp"
    return "nerfstudio" if keys & {"fl_x", "camera_model", "applied_transform", "ply_file_path"} else "blender"


def _notes(top: Values, frames: list[Any]) -> list[str]:
    notes = []
    if "applied_transform" in top or "applied_scale" in top:
        notes.append("the poses have nerfstudio's applied_transform or applied_scale in them, which was left as it is")
    if "aabb_scale" in top and ("scale" in top or "offset" in top):
        notes.append("instant-ngp would apply the file's scale and offset to the poses, which were left as they are")
    if any(isinstance(frame, dict) and "transform_matrix_start" in frame for frame in frames):
        notes.append("rolling-shutter frames count with their first pose")
    return notes
