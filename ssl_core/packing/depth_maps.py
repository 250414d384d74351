"""Depth of views: PNG or TIFF of 16 bits in units of `ScenePackConfig.depth_scale`, or .npy in world units."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_core.errors import ImageError
from ssl_core.files.image_files import DECODING, FORMATS, decode_map
from ssl_core.files.npy_file import decode_npy

DEPTHS = ("depth", "depths")
"""Folders of a scene that may hold the depth of its views."""
ENDINGS = ("", ".png", ".npy", ".PNG", ".tif", ".tiff", ".exr")

_REMEDY = "write 16 bits, or .npy in world units"


def is_eight_bit(file: Path) -> bool:
    """Whether a picture has 8 bits a channel: no distances but a drawing of some, without a scale."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return not image.mode.startswith(("I", "F"))
    except DECODING:
        return False  # said when it is read


def decode_depth(content: bytes, file: Path, scale: float) -> NDArray[np.float32]:
    """[H, W] float32 world units along the camera's z axis, 0 where the depth is not known.

    Args:
        content: the bytes of `file`.
        file: .npy of floats in world units, or a picture of 16 bits.
        scale: world units per unit of a picture.

    Raises ImageError: of another kind, or it holds negative or non-finite numbers.
    """
    if file.suffix.lower() == ".exr":
        raise ImageError(f"{file}: OpenEXR is not read; {_REMEDY}")
    if file.suffix.lower() == ".npy":
        values = _npy(content, file)
    else:
        units = decode_map(content, str(file))
        if units.dtype != np.uint16:
            raise ImageError(f"{file}: has 8 bits a channel, which say no distances; {_REMEDY}")
        values = units * scale
    with np.errstate(over="ignore"):  # what overflows is refused
        depth = values.astype(np.float32)
    if not (good := np.isfinite(depth) & (depth >= 0)).all():
        raise ImageError(
            f"{file}: {int((~good).sum()):,} pixels are NaN, infinite or negative; write 0 where the depth is unknown"
        )
    return depth


def _npy(content: bytes, file: Path) -> NDArray[Any]:
    values = decode_npy(content, str(file))
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind != "f" or not values.size:
        raise ImageError(f"{file}: is no depth: expected floats [H, W] in world units; write it again")
    return values
