"""What an object carries besides its Gaussians and pictures: masks, cameras and part labels, as a pack stores them."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import CameraError, DataError, GaussianFileError
from ssl_core.files.image_files import MAX_BYTES, decode_image, resize_image
from ssl_core.files.source import Source, read_bytes
from ssl_core.packing.objects import SplatObject
from ssl_core.scenes.cameras import Camera
from ssl_core.scenes.checked_values import MAX_JSON_BYTES, parse_json_bytes
from ssl_core.scenes.inria import read_inria

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

MAX_LABEL = 2**15 - 1
OTHER_PICTURES = "cameras.json names other pictures, so it was not used"


def object_masks(
    item: SplatObject, alphas: Sequence[Pixels | None], image_size: int, digest: "hashlib._Hash"
) -> Pixels | None:
    """[V, S, S] uint8: the files beside the views, else the views' own alpha; None when neither says anything.

    Args:
        item: the object.
        alphas: [S, S] of each view, None for a picture that knows no transparency.
        image_size: S.
        digest: takes the bytes of mask files.

    Raises:
        ImageError: a mask cannot be read.
    """
    if item.masks:
        return np.stack([_mask(source, image_size, digest) for source in item.masks])
    known = [alpha for alpha in alphas if alpha is not None]
    # pictures that were only saved with an alpha channel say nothing of the object
    return np.stack(known) if len(known) == len(alphas) and any((alpha < 255).any() for alpha in known) else None


def _mask(source: Source, image_size: int, digest: "hashlib._Hash") -> Pixels:
    content = read_bytes(source, MAX_BYTES)
    digest.update(content)
    return resize_image(decode_image(content, str(source))[..., 0], image_size, image_size)


def object_cameras(item: SplatObject, image_size: int, digest: "hashlib._Hash") -> list[Camera] | None:
    """The camera of each view in stored pixels; None when no file names all of them.

    Raises:
        CameraError: the file is damaged.
    """
    if item.cameras is None:
        return None
    where = str(item.cameras)
    try:
        content = read_bytes(item.cameras, MAX_JSON_BYTES)
    except DataError as error:
        raise CameraError(str(error)) from None
    digest.update(content)
    entries = parse_json_bytes(content, where)
    if not isinstance(entries, list):
        raise CameraError(f"{where}: is no list of cameras, as INRIA's trainer writes it")
    found = {view.name: view.camera for view in read_inria(Path(where), entries).views}
    cameras = [found.get(view.name, found.get(view.name.rpartition(".")[0])) for view in item.views]
    known = [resized_camera(camera, image_size) for camera in cameras if camera is not None]
    return known if len(known) == len(cameras) else None


def resized_camera(camera: Camera, size: int) -> Camera:
    """The camera of a picture that is squeezed to `size` x `size`."""
    scale = np.diag([size / camera.width, size / camera.height, 1.0])
    return Camera(camera.viewmat, scale @ camera.K, size, size)


def camera_arrays(cameras: Sequence[Camera]) -> tuple[Floats, Floats]:
    """[V, 4, 4] world -> camera and [V, 3, 3] intrinsics."""
    return np.stack([camera.viewmat for camera in cameras]), np.stack([camera.K for camera in cameras])


def object_part_labels(item: SplatObject, gaussians: int, digest: "hashlib._Hash") -> NDArray[np.int16] | None:
    """[gaussians] int16 in the order of the file of Gaussians; None without a file of labels.

    Raises:
        GaussianFileError: the file is no .npy of so many integers from 0 to MAX_LABEL.
    """
    if item.part_labels is None:
        return None
    limit = 8 * gaussians + 2**16
    content = read_bytes(item.part_labels, limit)
    digest.update(content)
    try:
        labels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TypeError) as error:
        reason = ascii(" ".join(str(error).split())[:120])
        raise GaussianFileError(f"{item.part_labels}: is no .npy file ({reason}); write it again") from None
    whole = isinstance(labels, np.ndarray) and labels.shape == (gaussians,) and labels.dtype.kind in "iu"
    if not whole or labels.min() < 0 or labels.max() > MAX_LABEL:
        raise GaussianFileError(
            f"{item.part_labels}: expected {gaussians} integers from 0 to {MAX_LABEL}, one per Gaussian of "
            f"{item.gaussians.name} (255 for no part); write it again"
        )
    found: NDArray[np.int16] = labels.astype(np.int16)
    return found
