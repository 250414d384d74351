"""One view on its way into a scene pack: decoded, brought to its pinhole and to its size."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ssl_core.data.scene_pack import VOID, ScenePackConfig, ViewSplit
from ssl_core.errors import ImageError
from ssl_core.files.image_files import MAX_BYTES, decode_image, decode_with_mask, encode_image, resize_image
from ssl_core.files.source import FileSource, read_bytes
from ssl_core.packing.depth_maps import decode_depth
from ssl_core.packing.label_maps import LabelClasses, decode_labels
from ssl_core.packing.packed_object import resized_camera
from ssl_core.scenes.cameras import Camera, CameraView, Distortion

Pixels = NDArray[np.uint8]

_STRIP = 2**18
"""Pixels that are undistorted at once: float64 coordinates take eight times the bytes of pixels."""


@dataclass(frozen=True, eq=False)
class ViewEntry:
    """A view to be packed: its camera, its files as far as there are any, its split, and what its labels stand for."""

    view: CameraView
    image: Path
    mask: Path | None
    split: ViewSplit
    labels: Path | None = None
    depth: Path | None = None
    classes: LabelClasses | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Its picture and what lies beside it."""
        return tuple(file for file in (self.image, self.mask, self.labels, self.depth) if file is not None)


@dataclass(frozen=True, eq=False)
class Maps:
    """What belongs to the pixels of a picture, [H, W] each; None where it is not known."""

    mask: Pixels | None = None  # uint8, 255 where a pixel counts fully
    labels: Pixels | None = None  # uint8 numbers of classes, VOID for none
    depth: NDArray[np.float32] | None = None  # world units, 0 where unknown

    def resized(self, width: int, height: int) -> "Maps":
        """Masks are averaged; of labels and depth the pixel in the middle counts, as no mean of them is one."""
        return Maps(
            None if self.mask is None else resize_image(self.mask, width, height),
            None if self.labels is None else _nearest(self.labels, width, height),
            None if self.depth is None else _nearest(self.depth, width, height),
        )


@dataclass(frozen=True, eq=False)
class StoredView:
    """A view as a pack stores it: pixels or an encoded picture, and maps [H, W] where there are any."""

    content: bytes
    maps: Maps
    camera: Camera
    source_digest: str
    notes: tuple[str, ...]


def stored_view(entry: ViewEntry, config: ScenePackConfig) -> StoredView:
    """Read, undistort, shrink and encode one view.

    Raises:
        DataError: the picture or a map cannot be read, or does not have the shape that the camera speaks of.
    """
    content = read_bytes(FileSource(entry.image), MAX_BYTES)
    digest = hashlib.sha256(content)
    picture, mask = decode_with_mask(content, str(entry.image))
    maps = _read_maps(entry, mask, config.depth_scale, digest.update)
    for file, values in ((entry.mask, maps.mask), (entry.labels, maps.labels), (entry.depth, maps.depth)):
        if file is not None and values is not None and values.shape != picture.shape[:2]:
            raise ImageError(f"{file}: is {_size(values)}, its picture {_size(picture)}; make it again in that size")
    notes = []
    camera = _fitted(entry.view.camera, picture, entry.image)
    if camera is not entry.view.camera:
        notes.append("the picture has another size than its camera, which was scaled to it")
    if entry.view.distortion is not None:
        picture, maps = undistorted(picture, maps, camera, entry.view.distortion)
        notes.append("the lens's distortion was taken out of the picture")
    width, height = stored_size(camera, config)
    if (width, height) != (camera.width, camera.height):
        camera = resized_camera(camera, width, height)
        picture = resize_image(picture, width, height)
        maps = maps.resized(width, height)
    encoded = picture.tobytes() if config.codec == "raw" else encode_image(picture, config.codec)
    return StoredView(encoded, maps, camera, digest.hexdigest()[:16], tuple(notes))


def stored_size(camera: Camera, config: ScenePackConfig) -> tuple[int, int]:
    """Width and height of the stored picture, at least a pixel each."""
    width, height = camera.width / config.downscale, camera.height / config.downscale
    if config.max_side is not None:
        shrink = min(1.0, config.max_side / max(width, height))
        width, height = width * shrink, height * shrink
    return max(1, round(width)), max(1, round(height))


def _read_maps(entry: ViewEntry, alpha: Pixels | None, scale: float, used: Callable[[bytes], None]) -> Maps:
    """The maps beside a picture; a mask of its own counts before the picture's alpha. `used` is told all bytes."""

    def content(file: Path) -> bytes:
        found = read_bytes(FileSource(file), MAX_BYTES)
        used(found)
        return found

    mask = alpha if entry.mask is None else decode_image(content(entry.mask), str(entry.mask))[..., 0]
    labels = depth = None
    if entry.labels is not None and entry.classes is not None:
        labels = decode_labels(content(entry.labels), entry.labels, entry.classes)
    if entry.depth is not None:
        depth = decode_depth(content(entry.depth), entry.depth, scale)
    return Maps(mask, labels, depth)


def undistorted(picture: Pixels, maps: Maps, camera: Camera, lens: Distortion) -> tuple[Pixels, Maps]:
    """What the ideal pinhole `camera` would have taken instead of the one behind `lens`.

    Args:
        picture: [H, W, 3] uint8.
        maps: of the same size.
        camera: of the picture's size.
        lens: what bent it.

    Returns:
        Picture and maps, of which the mask is there; where the lens saw nothing, white, mask and depth 0, VOID.
        Labels and depth are those of the nearest pixel.
    """
    mask = np.full(picture.shape[:2], 255, np.uint8) if maps.mask is None else maps.mask
    planes = np.dstack([picture, mask])
    found = np.empty_like(planes)
    labels = None if maps.labels is None else np.empty_like(maps.labels)
    depth = None if maps.depth is None else np.empty_like(maps.depth)
    step = max(1, _STRIP // camera.width)
    for top in range(0, camera.height, step):
        rows = np.arange(top, min(top + step, camera.height))
        where, seen = _bent(rows, camera, lens)
        for plane in range(4):
            values = map_coordinates(planes[..., plane], where, output=np.float64, order=1, mode="nearest")
            values[~seen] = 0 if plane == 3 else 255
            found[rows, :, plane] = np.rint(values).reshape(len(rows), camera.width)
        nearest = tuple(
            np.clip(np.rint(at), 0, side - 1).astype(np.int64) for at, side in zip(where, mask.shape, strict=True)
        )
        if maps.labels is not None and labels is not None:
            labels[rows] = np.where(seen, maps.labels[nearest], VOID).reshape(len(rows), camera.width)
        if maps.depth is not None and depth is not None:
            depth[rows] = np.where(seen, maps.depth[nearest], 0.0).reshape(len(rows), camera.width)
    return np.ascontiguousarray(found[..., :3]), Maps(np.ascontiguousarray(found[..., 3]), labels, depth)


def _bent(rows: NDArray[np.int64], camera: Camera, lens: Distortion) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where the pixels of some rows lie in the bent picture, [2, n] row and column, and whether they are seen, [n]."""
    focal, centre = np.diag(camera.K)[:2], camera.K[:2, 2]
    y, x = np.meshgrid(rows + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    flat = (np.stack([x.ravel(), y.ravel()], axis=1) - centre) / focal
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bent, farther = lens(flat), lens(flat * 1.001)
        # beyond its last calibrated ring a polynomial turns back: what is farther out would be nearer
        grows = np.linalg.norm(farther, axis=1) > np.linalg.norm(bent, axis=1)
        pixels = bent * focal + centre
        seen = ((pixels >= 0) & (pixels <= (camera.width, camera.height))).all(axis=1) & grows
    return np.where(seen[:, None], pixels - 0.5, 0.0).T[::-1], seen


def _fitted(camera: Camera, picture: Pixels, file: Path) -> Camera:
    """The camera for the picture's real size: shrunk copies are common."""
    height, width = picture.shape[:2]
    if (width, height) == (camera.width, camera.height):
        return camera
    # either side was rounded to a pixel
    if abs(width - height * camera.width / camera.height) > 1 + max(width / height, height / width):
        raise ImageError(
            f"{file}: is {width} x {height}, its camera's picture {camera.width} x {camera.height}, of another shape; "
            "give the pictures that the cameras were found for"
        )
    return resized_camera(camera, width, height)


def _nearest(values: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.int64)
    found: NDArray[Any] = values[rows[:, None], columns]
    return found


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
