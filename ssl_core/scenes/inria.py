"""`cameras.json`, which INRIA's trainer writes beside its Gaussians and viewers read.

Written by `camera_to_JSON` of graphdeco-inria/gaussian-splatting: a list of {id, img_name, width, height, position,
rotation, fx, fy}; `rotation` is a list of rows, camera to world, OpenCV axes; `position` is the camera's centre. The
principal point is the middle of the image, as that trainer assumes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_core.errors import CameraError
from ssl_core.files.unicode_names import nfc
from ssl_core.files.whole import atomic_write
from ssl_core.scenes.cameras import MAX_VIEWS, Camera, CameraScene, CameraView
from ssl_core.scenes.checked_values import from_camera_to_world, mapping, matrix, number, pinhole, quoted, text, vector
from ssl_core.scenes.scene_images import SceneImages
from ssl_core.scenes.scene_points import read_scene_points


def read_inria(path: Path, content: list[Any]) -> CameraScene:
    """The views of a parsed cameras.json. Raises CameraError: as `read_scene`; names the entry."""
    if not 0 < len(content) <= MAX_VIEWS:
        raise CameraError(f"{path}: lists {len(content):,} cameras; expected 1 to {MAX_VIEWS:,}")
    images = SceneImages(path.parent)
    views: dict[str, CameraView] = {}
    for i, entry in enumerate(content):
        view = _view(entry, f"{path}: camera {i}", images)
        if view.name in views:
            raise CameraError(
                f"{path}: camera {i} has the img_name {quoted(view.name)} of one before it; name each once"
            )
        views[view.name] = view
    started_from = path.parent / "input.ply"  # the trainer's copy of the points it began with
    points = read_scene_points(started_from) if started_from.is_file() else None
    return CameraScene(path, "inria", tuple(views.values()), points, images.notes(len(views)))


def _view(entry: Any, where: str, images: SceneImages) -> CameraView:
    values = mapping(entry, where)
    name = nfc(text(values, "img_name", where))
    where = f"{where} ({quoted(name)})"
    turn = matrix(values, "rotation", where, (3,), 3)
    rotation, translation = from_camera_to_world(turn, vector(values, "position", where, 3), where)
    width, height = number(values, "width", where), number(values, "height", where)
    focal = (number(values, "fx", where), number(values, "fy", where))
    camera = pinhole(where, rotation, translation, focal, (width / 2, height / 2), (width, height))
    return CameraView(name, camera, images.find(name, (camera.width, camera.height)))


def write_inria(path: Path, names: Sequence[str], cameras: Sequence[Camera]) -> None:
    """Write cameras.json; principal points are the middle, as the format has it.

    Raises StorageError: the disk is full or not writable.
    """
    entries = [
        {
            "id": i,
            "img_name": name,
            "width": camera.width,
            "height": camera.height,
            "position": camera.position.tolist(),
            "rotation": camera.viewmat[:3, :3].T.tolist(),
            "fx": float(camera.K[0, 0]),
            "fy": float(camera.K[1, 1]),
        }
        for i, (name, camera) in enumerate(zip(names, cameras, strict=True))
    ]
    with atomic_write(path) as stream:
        stream.write(json.dumps(entries).encode())
