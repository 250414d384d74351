"""Image files as uint8 RGB arrays."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_core.data.atomic import atomic_write
from ssl_core.errors import ImageError

Pixels = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""Larger images are refused before decoding: a small file can claim any size."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
"""Decoders that are tried. The library knows more, some of which start other programs."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

# What a decoder may raise on damaged bytes; the library passes on whatever it met.
_DECODING = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def read_image(path: Path) -> Pixels:
    """Read an image as uint8 [H, W, 3]; transparency is laid over white, 16 bits are brought to 8.

    Raises:
        ImageError: missing, empty, no image, damaged, or more than MAX_PIXELS.
    """
    path = Path(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{path}: claims {image.width} x {image.height} pixels, more than {MAX_PIXELS}; shrink it"
                )
            return _rgb(path, image)
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such image; check the path") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{path}: claims more than {MAX_PIXELS} pixels; shrink it") from None
    except _DECODING as error:
        reason = " ".join(str(error).replace(str(path), "file").split())[:120]
        raise ImageError(
            f"{path}: is not a readable image ({reason}); expected {', '.join(FORMATS)}: replace the file"
        ) from None


def _rgb(path: Path, image: Image.Image) -> Pixels:
    if image.mode == "F":
        raise ImageError(f"{path}: holds floating-point values, not colours; export it with 8 bits per channel")
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        grey = (np.clip(deep, 0, 65535) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA")).astype(np.uint16)
        colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
        # Rounded integer blend: 255 * 255 fits uint16.
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.array(image.convert("RGB"))


def write_image(path: Path, image: Pixels) -> None:
    """Write uint8 [H, W, 3] atomically, as PNG or, where the name ends so, as JPEG.

    Raises:
        ImageError: not uint8 [H, W, 3], or another ending.
        StorageError: the disk is full or not writable.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"{path}: not written: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"{path}: not written: the name must end in {', '.join(kinds)}")
    with atomic_write(path) as stream:
        Image.fromarray(np.ascontiguousarray(image)).save(stream, format=kind, quality=95)


def resize_image(image: Pixels, size: int) -> Pixels:
    """Antialiased resize of uint8 [H, W, 3] to [size, size, 3]; other aspect ratios are squeezed."""
    if image.shape[:2] == (size, size):
        return image
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(resized)
