"""The views of one object on disk: pictures, masks and cameras, in the cross-modal reference's layout."""

from collections.abc import Sequence
from pathlib import Path

from ssl_core.files.image_files import as_bytes, write_image, write_mask
from ssl_core.packing.layout import cameras_path, mask_path, view_path
from ssl_core.render.mesh_raster import MeshView
from ssl_core.scenes.cameras import Camera
from ssl_core.scenes.inria import write_inria


def write_views(images: Path, at: tuple[str, str, str], cameras: Sequence[Camera], views: Sequence[MeshView]) -> None:
    """Write an object's views, on white, under `images`; `at` is its class, split and name.

    Pictures come last, so an object with all its pictures has the rest, too. Raises StorageError.
    """
    write_inria(cameras_path(images, *at), [view_path(images, *at, i).stem for i in range(len(views))], cameras)
    for index, view in enumerate(views):
        write_mask(mask_path(images, *at, index), as_bytes(view.alpha))
    for index, view in enumerate(views):
        write_image(view_path(images, *at, index), as_bytes(view.rgb))
