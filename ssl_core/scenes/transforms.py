"""`transforms.json` and its kin: Blender's NeRF scenes, nerfstudio and instant-ngp.

All have `frames` with `file_path` and `transform_matrix`, camera to world with OpenGL's camera axes (x right, y up,
looking along -z). Intrinsics stand beside `frames` or in a frame, which then counts for that frame.
Descriptions: bmild/nerf `load_blender.py`; docs.nerf.studio "Data conventions"; NVlabs/instant-ngp
`docs/nerf_dataset_tips.md` and its `nerf_loader.cu` for what it accepts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.errors import CameraError
from ssl_core.scenes.camera_scene import MAX_VIEWS, CameraScene, CameraView, SceneFormat, SceneSplit
from ssl_core.scenes.checked_camera import FLIP_YZ, from_camera_to_world, pinhole
from ssl_core.scenes.json_values import mapping, matrix, quoted, read_json, text
from ssl_core.scenes.scene_images import SceneImages, image_size
from ssl_core.scenes.transforms_lens import Scope, centre_of, focal_of, lens_of, size_of


@dataclass(frozen=True, eq=False)
class SplitFile:
    """A parsed transforms file and the split its name says."""

    path: Path
    split: SceneSplit | None
    content: Any


def open_splits(files: Sequence[tuple[SceneSplit, Path]]) -> list[SplitFile]:
    """Parse them. Raises CameraError."""
    return [SplitFile(path, split, read_json(path)) for split, path in files]


def read_transforms(path: Path, files: Sequence[SplitFile]) -> CameraScene:
    """The views of one or more parsed files of the same folder, in order.

    Raises:
        CameraError: as `read_scene`; names the frame.
    """
    root = files[0].path.parent
    images = SceneImages(root)
    views: dict[str, CameraView] = {}
    notes: dict[str, None] = {}
    formats: list[SceneFormat] = []
    for file in files:
        top = mapping(file.content, str(file.path))
        frames = top.get("frames")
        if not isinstance(frames, list) or not 0 < len(frames) <= MAX_VIEWS:
            raise CameraError(f"{file.path}: has no list of frames; expected 1 to {MAX_VIEWS:,} of them")
        formats.append(_format(top, frames[0]))
        notes |= dict.fromkeys(_notes(top, frames))
        for i, frame in enumerate(frames):
            view = _view(top, frame, f"{file.path}: frames[{i}]", images, file.split)
            if view.name in views:
                raise CameraError(
                    f"{file.path}: frames[{i}] has the file_path {quoted(view.name)} of one before it; name each once"
                )
            views[view.name] = view
    return CameraScene(path, formats[0], tuple(views.values()), notes=(*notes, *images.notes(len(views))))


def _view(top: Mapping[str, Any], frame: Any, where: str, images: SceneImages, split: SceneSplit | None) -> CameraView:
    values = mapping(frame, where)
    name = text(values, "file_path", where)
    where = f"{where} ({quoted(name)})"
    key = "transform_matrix_start" if "transform_matrix" not in values and _rolls(values) else "transform_matrix"
    pose = matrix(values, key, where, (3, 4), 4)
    if len(pose) == 4 and np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise CameraError(f"{where}: the last row of {key} is not 0 0 0 1; write camera to world, row by row")
    rotation, translation = from_camera_to_world(pose[:3, :3] @ FLIP_YZ, pose[:3, 3], where)
    scope = Scope(values, top, where)
    claimed = size_of(scope)
    image = images.find(name, claimed)
    if claimed is None and image is None:
        raise CameraError(f"{where}: gives no w and h and its image is not under {images.root}; add either")
    width, height = claimed or image_size(image)  # type: ignore[arg-type]
    camera = pinhole(
        where, rotation, translation, focal_of(scope, width, height), centre_of(scope, width, height), (width, height)
    )
    return CameraView(name, camera, image, lens_of(scope), split)


def _rolls(frame: Mapping[str, Any]) -> bool:
    return "transform_matrix_start" in frame


def _format(top: Mapping[str, Any], frame: Any) -> SceneFormat:
    keys = {*top, *(frame if isinstance(frame, dict) else ())}
    if "aabb_scale" in keys:
        return "instant-ngp"
    return "nerfstudio" if keys & {"fl_x", "camera_model", "applied_transform", "ply_file_path"} else "blender"


def _notes(top: Mapping[str, Any], frames: list[Any]) -> list[str]:
    notes = []
    if "applied_transform" in top or "applied_scale" in top:
        notes.append("the poses have nerfstudio's applied_transform or applied_scale in them, which was left as it is")
    if "aabb_scale" in top and ("scale" in top or "offset" in top):
        notes.append("instant-ngp would apply the file's scale and offset to the poses, which were left as they are")
    if any(isinstance(frame, dict) and _rolls(frame) for frame in frames):
        notes.append("rolling-shutter frames count with their first pose")
    return notes
