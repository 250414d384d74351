"""One view on its way into a scene pack: decoded, brought to its pinhole and to its size."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ssl_core.data.scene_pack import ScenePackConfig, ViewSplit
from ssl_core.errors import ImageError
from ssl_core.files.image_files import MAX_BYTES, decode_image, decode_with_mask, encode_image, resize_image
from ssl_core.files.source import FileSource, read_bytes
from ssl_core.packing.packed_object import resized_camera
from ssl_core.scenes.cameras import Camera, CameraView, Distortion

Pixels = NDArray[np.uint8]

_STRIP = 2**18
"""Pixels that are undistorted at once: float64 coordinates take eight times the bytes of pixels."""


@dataclass(frozen=True, eq=False)
class ViewEntry:
    """A view to be packed: its camera, its picture's file, a file of its mask where there is one, its split."""

    view: CameraView
    image: Path
    mask: Path | None
    split: ViewSplit

    @property
    def files(self) -> tuple[Path, ...]:
        """Its picture and mask."""
        return (self.image,) if self.mask is None else (self.image, self.mask)


@dataclass(frozen=True, eq=False)
class StoredView:
    """A view as a pack stores it. `content` is pixels or an encoded picture, `mask` [H, W] or None."""

    content: bytes
    mask: Pixels | None
    camera: Camera
    source_digest: str
    notes: tuple[str, ...]


def stored_view(entry: ViewEntry, config: ScenePackConfig) -> StoredView:
    """Read, undistort, shrink and encode one view.

    Raises:
        DataError: the picture or mask cannot be read, or does not have the shape that the camera speaks of.
    """
    digest = hashlib.sha256()
    content = read_bytes(FileSource(entry.image), MAX_BYTES)
    digest.update(content)
    picture, mask = decode_with_mask(content, str(entry.image))
    if entry.mask is not None:
        content = read_bytes(FileSource(entry.mask), MAX_BYTES)
        digest.update(content)
        mask = decode_image(content, str(entry.mask))[..., 0]
        if mask.shape != picture.shape[:2]:
            raise ImageError(f"{entry.mask}: is {_size(mask)}, its picture {_size(picture)}; make the mask again")
    notes = []
    camera = _fitted(entry.view.camera, picture, entry.image)
    if camera is not entry.view.camera:
        notes.append("the picture has another size than its camera, which was scaled to it")
    if entry.view.distortion is not None:
        picture, mask = undistorted(picture, mask, camera, entry.view.distortion)
        notes.append("the lens's distortion was taken out of the picture")
    if config.max_side is not None and max(camera.width, camera.height) > config.max_side:
        shrink = config.max_side / max(camera.width, camera.height)
        camera = resized_camera(camera, round(camera.width * shrink), round(camera.height * shrink))
        picture = resize_image(picture, camera.width, camera.height)
        mask = None if mask is None else resize_image(mask, camera.width, camera.height)
    encoded = picture.tobytes() if config.codec == "raw" else encode_image(picture, config.codec)
    return StoredView(encoded, mask, camera, digest.hexdigest()[:16], tuple(notes))


def undistorted(picture: Pixels, mask: Pixels | None, camera: Camera, lens: Distortion) -> tuple[Pixels, Pixels]:
    """The picture that the ideal pinhole `camera` would have taken instead of the one behind `lens`.

    Args:
        picture: [H, W, 3] uint8.
        mask: [H, W] uint8, or None for one that is 255 everywhere.
        camera: of the picture's size.
        lens: what bent it.

    Returns:
        Picture and mask; where the lens saw nothing, white and 0.
    """
    planes = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8) if mask is None else mask])
    found = np.empty_like(planes)
    step = max(1, _STRIP // camera.width)
    for top in range(0, camera.height, step):
        rows = np.arange(top, min(top + step, camera.height))
        where, seen = _bent(rows, camera, lens)
        for plane in range(4):
            values = map_coordinates(planes[..., plane], where, output=np.float64, order=1, mode="nearest")
            values[~seen] = 0 if plane == 3 else 255
            found[rows, :, plane] = np.rint(values).reshape(len(rows), camera.width)
    return np.ascontiguousarray(found[..., :3]), np.ascontiguousarray(found[..., 3])


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


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
