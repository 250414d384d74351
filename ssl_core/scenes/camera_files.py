"""The cameras of a scene, whatever wrote them: one call that reads every format.

Formats, each in a file of this folder: `cameras.json` of INRIA's trainer, `transforms*.json` of Blender's NeRF
scenes, nerfstudio and instant-ngp, and COLMAP's sparse models, binary or text.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssl_core.errors import CameraError
from ssl_core.scenes.cameras import CameraScene, SceneSplit
from ssl_core.scenes.checked_values import read_json
from ssl_core.scenes.colmap import read_colmap
from ssl_core.scenes.inria import read_inria
from ssl_core.scenes.scene_images import image_size
from ssl_core.scenes.transforms import read_transforms

SPLIT_FILES: tuple[tuple[SceneSplit, str], ...] = (
    ("train", "transforms_train.json"),
    ("val", "transforms_val.json"),
    ("test", "transforms_test.json"),
)
_MODEL_FILES = re.compile(r"(cameras|images|points3D)\.(bin|txt)")


def read_scene(path: Path | str) -> CameraScene:
    """The cameras at `path`, in the house convention: OpenCV axes, world -> camera, K in pixels.

    A file is read as what it is. In a folder the first of these is taken: a COLMAP model in the folder itself, in
    `sparse/0` or in `sparse`; `transforms.json`; `transforms_train.json` with its `_val` and `_test`;
    `cameras.json`; a COLMAP model in `colmap/sparse/0` (which nerfstudio keeps beside its transforms). A model's
    .bin files are taken before its .txt files. The world is the file's own: nothing is centred, turned or scaled.

    Raises:
        CameraError: no camera file there, a damaged one, or one that says what no camera can do. Names the file
            and the frame, offset or line.
    """
    scene = _read(Path(path))
    return replace(scene, notes=scene.notes + _size_note(scene))


def _read(path: Path) -> CameraScene:
    if _is(path, Path.is_dir):
        return _read_folder(path)
    if not _is(path):
        raise CameraError(f"{path}: there is no such camera file; check the path")
    if _MODEL_FILES.fullmatch(path.name):
        return read_colmap(path.parent, ".bin" if path.suffix == ".bin" else ".txt")
    if path.suffix.lower() == ".json":
        return _read_json(path)
    raise CameraError(
        f"{path}: is no known camera file; expected cameras.json, transforms*.json, or a COLMAP model "
        "(cameras, images and points3D as .bin or .txt)"
    )


def _read_folder(path: Path) -> CameraScene:
    for model in (path, path / "sparse/0", path / "sparse"):
        if _has_model(model):
            return _read_model(model)
    if _is(path / "transforms.json"):
        return _read_json(path / "transforms.json")
    if _is(path / SPLIT_FILES[0][1]):
        files = [(path / name, split) for split, name in SPLIT_FILES if _is(path / name)]
        return read_transforms(path, [(file, split, read_json(file)) for file, split in files])
    if _is(path / "cameras.json"):
        return _read_json(path / "cameras.json")
    if _has_model(path / "colmap/sparse/0"):
        return _read_model(path / "colmap/sparse/0")
    raise CameraError(
        f"{path}: holds no camera files; looked for a COLMAP model (here, sparse/0, sparse), transforms.json, "
        "transforms_train.json, cameras.json, colmap/sparse/0; nor is it a pack (no manifest.json)"
    )


def _size_note(scene: CameraScene) -> tuple[str, ...]:
    """Whether the first picture has the size its camera speaks of: shrunk copies often do not."""
    view = next((view for view in scene.views if view.image is not None), None)
    if view is None or view.image is None:
        return ()
    try:
        width, height = image_size(view.image)
    except CameraError as error:
        return (str(error),)
    if (width, height) == (view.camera.width, view.camera.height):
        return ()
    return (f"{view.image} is {width} x {height}, its camera's picture {view.camera.width} x {view.camera.height}",)


def _is(path: Path, kind: Callable[[Path], bool] = Path.is_file) -> bool:
    """False also for paths that cannot be: too long, or in a folder that is closed to us."""
    try:
        return kind(path)
    except OSError:
        return False


def _has_model(folder: Path) -> bool:
    return any(_is(folder / f"cameras{ending}") for ending in (".bin", ".txt"))


def _read_model(folder: Path) -> CameraScene:
    return read_colmap(folder, ".bin" if _is(folder / "cameras.bin") else ".txt")


def _read_json(path: Path) -> CameraScene:
    """A list is INRIA's, an object with frames is a transforms file."""
    content = read_json(path)
    if isinstance(content, list):
        return read_inria(path, content)
    split = next((split for split, name in SPLIT_FILES if name == path.name), None)
    return read_transforms(path, [(path, split, content)])
