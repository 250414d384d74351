"""A COLMAP sparse model (cameras, images, points3D; binary or text) as views.

COLMAP's poses take world to camera with our axes and its pixel centres lie at +0.5, so nothing is turned.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from ssl_core.errors import CameraError
from ssl_core.scenes.cameras import CameraScene, CameraView, Floats, SceneFormat
from ssl_core.scenes.checked_values import pinhole, quoted
from ssl_core.scenes.colmap_tables import ColmapCamera, ColmapImage, read_cameras, read_images, read_points
from ssl_core.scenes.scene_images import FOLDERS, SceneImages

NOT_UNIT = 1e-3
"""A quaternion further from norm 1 is worth a note; COLMAP normalises all of them, and so do we."""


def read_colmap(folder: Path, ending: Literal[".bin", ".txt"]) -> CameraScene:
    """The model in `folder`; views in the order of their names.

    Pictures are looked for from the folder above `sparse`; those of a model under `distorted` in input/ first.

    Raises CameraError: as `read_scene`; names the file and the offset, line or image.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        file, points_file = folder / f"images{ending}", folder / f"points3D{ending}"
        cameras, rows = read_cameras(folder / f"cameras{ending}"), read_images(file)
        if not rows:
            raise CameraError(f"{file}: has no image; the reconstruction is empty")
        points = read_points(points_file) if points_file.is_file() else None
        notes = [] if points is not None else [f"there is no {points_file.name}: no sparse points"]
        lengths = np.hypot.reduce([row.quaternion for row in rows.values()], axis=1)
        if (off := int((np.abs(lengths - 1) > NOT_UNIT).sum())) > 0:
            notes.append(f"{off} quaternions were not of norm 1 and were normalised")
        images = _images(folder)
        views = _views(rows, cameras, images, file)
    form: SceneFormat = "colmap binary" if ending == ".bin" else "colmap text"
    return CameraScene(folder, form, views, points, (*notes, *images.notes(len(views))))


def _views(
    rows: dict[int, ColmapImage], cameras: dict[int, ColmapCamera], images: SceneImages, file: Path
) -> tuple[CameraView, ...]:
    views: dict[str, CameraView] = {}
    for key, row in sorted(rows.items(), key=lambda item: item[1].name):
        where = f"{file}: image {key} ({quoted(row.name)})"
        if row.camera not in cameras:
            raise CameraError(f"{where}: names camera {row.camera}, which is not in the table of cameras")
        if row.name in views or not row.name:
            raise CameraError(f"{where}: has {'the name of another' if row.name else 'no name'}; name each once")
        camera = cameras[row.camera]
        focal, centre, lens = camera.intrinsics()
        if not np.isfinite(camera.parameters).all():
            raise CameraError(f"{where}: camera {row.camera} has parameters that are not finite")
        seen = pinhole(
            where,
            _rotation(row.quaternion, where),
            np.array(row.translation),
            focal,
            centre,
            (camera.width, camera.height),
        )
        views[row.name] = CameraView(row.name, seen, images.find(row.name, (seen.width, seen.height)), lens)
    return tuple(views.values())


def _rotation(quaternion: tuple[float, ...], where: str) -> Floats:
    """[3, 3] of wxyz of any norm but zero."""
    norm = np.hypot.reduce(quaternion)
    if not (np.isfinite(norm) and norm > 1e-12):
        raise CameraError(f"{where}: its quaternion is zero or not finite; write the model again")
    w, x, y, z = np.array(quaternion) / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _images(folder: Path) -> SceneImages:
    """Looked up from the folder that holds sparse/, distorted/sparse/ or colmap/sparse/."""
    root = folder.absolute()
    distorted = "distorted" in root.parts[-3:]
    if root.name.isdigit() and root.parent.name == "sparse":
        root = root.parent
    for name in ("sparse", "distorted" if distorted else "colmap"):
        root = root.parent if root.name == name else root
    return SceneImages(root, ("input", *FOLDERS) if distorted else FOLDERS)
