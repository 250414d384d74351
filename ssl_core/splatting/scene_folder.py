"""A scene drawn from a mesh, on disk as a real capture lies there, with exact depth and labels.

<scene>/images/000.png ...       pictures; masks/000.png, where the mesh does not fill them
<scene>/depth/000.png ...        16 bits, millimetres along the camera's z axis
<scene>/labels/000.png ...       numbers of classes, 255 for none; classes.json names them
<scene>/sparse/0/*.txt           COLMAP's text model, with points of the surface
<scene>/points.ply               the same points
<scene>/transforms.json          nerfstudio's cameras, written last: a scene with it is whole
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.cloud_ply import write_cloud_ply
from ssl_core.data.scene_pack import VOID
from ssl_core.errors import DataError
from ssl_core.files.image_files import as_bytes, write_image, write_mask
from ssl_core.files.whole import atomic_write
from ssl_core.meshes.mesh import sample_surface
from ssl_core.packing.label_maps import CLASSES, distinct_colour
from ssl_core.render.mesh_raster import MeshView, visible_points
from ssl_core.render.shaded_views import ShadedMesh, ShadedView, shaded_view
from ssl_core.scenes.cameras import Camera, ScenePoints
from ssl_core.scenes.scene_writers import write_colmap_text, write_transforms

MILLIMETRES = 1000.0
_WHOLE = "transforms.json"
_CANDIDATES = 3
"""Surface points drawn per point kept: some are seen by no camera."""


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """What is to be drawn: a mesh, the class of each of its faces [F] (VOID for none), cameras of one lens."""

    shaded: ShadedMesh
    labels: NDArray[np.uint8]
    classes: Sequence[str]
    cameras: Sequence[Camera]


def is_whole(folder: Path) -> bool:
    """Whether a scene was written to its end."""
    return (folder / _WHOLE).is_file()


def write_drawn_scene(folder: Path, scene: DrawnScene, points: int, rng: np.random.Generator) -> None:
    """Draw all views and write the scene, with `points` points of the surface that the views show.

    Raises:
        DataError: more than 65 m from a camera, where millimetres do not fit 16 bits, or more than 255 classes.
        StorageError: the disk is full or not writable.
    """
    if len(scene.classes) > VOID:
        raise DataError(f"{folder}: {len(scene.classes)} classes; a label map of 8 bits holds at most {VOID}")
    names = [f"{number:03d}.png" for number in range(len(scene.cameras))]
    views = [shaded_view(scene.shaded, camera) for camera in scene.cameras]
    masked = any((view.alpha < 1).any() for view in views)
    for name, view in zip(names, views, strict=True):
        _write_view(folder, name, view, scene.labels, masked=masked)
    classes = [{"name": name, "colour": distinct_colour(i)} for i, name in enumerate(scene.classes)]
    with atomic_write(folder / CLASSES) as stream:
        stream.write(json.dumps({"classes": classes}, indent=1).encode())
    seen = _seen_points(scene, views, points, rng)
    write_cloud_ply(folder / "points.ply", seen.xyz, seen.colours)
    write_colmap_text(folder / "sparse/0", names, scene.cameras, seen)
    write_transforms(folder / _WHOLE, names, scene.cameras, depth=True, points="points.ply")


def _write_view(folder: Path, name: str, view: ShadedView, labels: NDArray[np.uint8], *, masked: bool) -> None:
    millimetres = np.rint(view.depth * MILLIMETRES)
    if millimetres.max() > 65535:
        raise DataError(f"{folder}: a view reaches {view.depth.max():.0f} units far; scale the scene below 65")
    write_image(folder / "images" / name, as_bytes(view.rgb))
    write_mask(folder / "depth" / name, millimetres.astype(np.uint16))
    write_mask(folder / "labels" / name, np.append(labels, np.uint8(VOID))[view.faces])
    if masked:
        write_mask(folder / "masks" / name, as_bytes(view.alpha))


def _seen_points(scene: DrawnScene, views: Sequence[ShadedView], count: int, rng: np.random.Generator) -> ScenePoints:
    """Points of the surface that some view shows, uniform in area, with their colours."""
    points, faces = sample_surface(scene.shaded.mesh, _CANDIDATES * count, rng)
    depths = [
        MeshView(view.rgb, np.where(view.faces >= 0, view.depth, np.inf), view.faces, view.alpha) for view in views
    ]
    seen = np.flatnonzero(visible_points(points, scene.cameras, depths))[:count]
    colours = scene.shaded.colours(points[seen].astype(np.float64), faces[seen])
    return ScenePoints(points[seen].astype(np.float64), as_bytes(colours.astype(np.float32)))
