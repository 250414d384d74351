"""Image files as uint8 RGB arrays."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ssl_core.errors import DataError, ImageError
from ssl_core.files.source import DAMAGED, FileSource, Source, as_source, read_bytes
from ssl_core.files.whole import atomic_write

T = TypeVar("T")
Pixels = NDArray[np.uint8]
Codec = Literal["jpeg", "webp"]

MAX_PIXELS = 50_000_000
"""Larger images are refused before decoding: a small file can claim any size. Decoding one takes 0.8 GB at most."""

MAX_BYTES = 2**28
"""Larger files are refused unread."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
"""Decoders that are tried. The library knows more, some of which start other programs."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

DECODING = (*DAMAGED, OSError, SyntaxError, TypeError, ArithmeticError, AttributeError, AssertionError)
"""What a decoder may raise on damaged bytes; the library passes on whatever it met."""

_PNG, _MAX_CHUNKS = b"\x89PNG\r\n\x1a\n", 100_000

_STRIP = 2**20  # pixels that are converted at once, so that a large image has no large copies


def read_image(place: Source | Path | str) -> Pixels:
    """Read an image as uint8 [H, W, 3].

    Transparency is laid over white, 16 bits are brought to 8, of several frames the first is taken. Orientation tags
    are not followed: pixels are as they are stored, as cameras' intrinsics count them.

    Raises ImageError: missing, empty, no image, damaged, more than MAX_BYTES or more than MAX_PIXELS. Names the file.
    """
    return decode_image(*_content(place))


def read_with_mask(place: Source | Path | str) -> tuple[Pixels, Pixels | None]:
    """The same with the picture's alpha, uint8 [H, W], as its mask; None for a picture that knows no transparency."""
    return decode_with_mask(*_content(place))


def _content(place: Source | Path | str) -> tuple[bytes, str]:
    """The bytes, and what errors call them."""
    source = as_source(place)
    try:
        return read_bytes(source, MAX_BYTES), str(source)
    except DataError as error:
        if isinstance(source, FileSource) and not source.path.exists():
            raise ImageError(f"{source}: there is no such image; check the path") from None
        raise ImageError(str(error)) from None


def decode_image(content: bytes, what: str) -> Pixels:
    """The same from bytes in memory; `what` names them in errors."""
    return _decoded(content, what, _rgb)


def decode_with_mask(content: bytes, what: str) -> tuple[Pixels, Pixels | None]:
    """The same with the picture's alpha, uint8 [H, W], as its mask; None for a picture that knows no transparency."""
    return _decoded(content, what, lambda image: (_rgb(image), _alpha(image)))


def decode_map(content: bytes, what: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The stored numbers of a picture that is a map: [H, W], uint8 of indices into a palette or of 8 bits, uint16 of
    more; of coloured pixels [H, W, 3] uint8. Raises ImageError: as `read_image`, and for numbers above 65,535."""
    return _decoded(content, what, _numbers)


def _numbers(image: Image.Image) -> NDArray[Any]:
    image.load()
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= 65535:
            raise ValueError(f"its numbers are {values.min()} to {values.max()}, not 0 to 65535")
        return values.astype(np.uint16)
    if image.mode == "F":
        raise _FloatingPointError
    if image.mode == "LA":
        return np.array(image.getchannel("L"))
    return np.array(image.convert("RGB"))


def _decoded(content: bytes, what: str, convert: Callable[[Image.Image], T]) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whatever the library warns of is refused here, or harmless
            if not content:
                raise ValueError("it has no bytes")
            if content.startswith(_PNG):
                _check_png(content)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError(
                        f"{what}: claims {image.width} x {image.height} pixels, more than {MAX_PIXELS}; shrink it"
                    )
                return convert(image)
    except Image.DecompressionBombError:
        raise ImageError(f"{what}: claims more than {MAX_PIXELS} pixels; shrink it") from None
    except _FloatingPointError:
        raise ImageError(
            f"{what}: holds floating-point values, not colours; export it with 8 bits per channel"
        ) from None
    except DECODING as error:
        # An unknown format is told by the address of a buffer, which says nothing.
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)
        reason = " ".join(ascii(reason)[1:-1].split())[:120] or type(error).__name__
        raise ImageError(
            f"{what}: is not a readable image ({reason}); expected {', '.join(FORMATS)}: replace the file"
        ) from None


def _check_png(content: bytes) -> None:
    """Checksums of all chunks up to the last, which must be there: the library does not look at those of pixels.

    Source: PNG specification, third edition, 5.3 to 5.5. Raises ValueError.
    """
    at = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            raise ValueError(f"it ends within the chunk at byte {at}")
        if zlib.crc32(memoryview(content)[at + 4 : end]) != int.from_bytes(content[end : end + 4]):
            raise ValueError(f"wrong checksum of the chunk at byte {at}")
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError(f"it has more than {_MAX_CHUNKS} chunks")


class _FloatingPointError(Exception):
    """Pixels without a known range."""


def _rgb(image: Image.Image) -> Pixels:
    image.load()
    if image.mode == "F":
        raise _FloatingPointError
    width, height = image.size
    if image.mode == "RGB" and not image.has_transparency_data and width * height <= _STRIP:
        return np.array(image)
    found = np.empty((height, width, 3), np.uint8)
    step = max(1, _STRIP // max(1, width))
    for top in range(0, height, step):
        bottom = min(top + step, height)
        # An image of one strip is not cut: a copy less.
        strip = image if step >= height else image.crop((0, top, width, bottom))
        found[top:bottom] = _strip_rgb(strip)
    return found


def _alpha(image: Image.Image) -> Pixels | None:
    return np.array(image.convert("RGBA").getchannel("A")) if image.has_transparency_data else None


def _strip_rgb(image: Image.Image) -> Pixels:
    """[h, w, 3], or [h, w, 1] where the three are equal."""
    if image.mode.startswith("I"):
        return (np.clip(np.asarray(image).astype(np.int64), 0, 65535) // 257).astype(np.uint8)[:, :, None]
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)  # (colour * alpha + 255 * (255 - alpha)) / 255, rounded
        image = white
    return np.asarray(image.convert("RGB"))


def encode_image(image: Pixels, codec: Codec) -> bytes:
    """uint8 [H, W, 3] as JPEG (quality 95, full chroma) or WebP (lossy, quality 90, half chroma).

    Both lose a little of every picture. The same pixels and the same version of the library give the same bytes.

    Raises ImageError: not uint8 [H, W, 3], or larger than the codec knows (WebP: 16,383 pixels a side).
    """
    _check("image", image)
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    try:
        match codec:
            case "jpeg":
                picture.save(buffer, format="JPEG", quality=95, subsampling=0)
            case "webp":
                picture.save(buffer, format="WEBP", quality=90, method=4)
            case _:
                assert_never(codec)
    except (OSError, ValueError) as error:
        raise ImageError(f"image of {list(image.shape)}: cannot be stored as {codec} ({error}); shrink it") from None
    return buffer.getvalue()


def as_bytes(values: NDArray[np.float32]) -> Pixels:
    """Values in [0, 1] as uint8, rounded; what lies outside is clipped."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def write_image(path: Path, image: Pixels) -> None:
    """Write uint8 [H, W, 3] atomically, as PNG or, where the name ends so, as JPEG.

    Raises:
        ImageError: not uint8 [H, W, 3], or another ending.
        StorageError: the disk is full or not writable.
    """
    path = Path(path)
    _check(path, image)
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"{path}: not written: the name must end in {', '.join(kinds)}")
    with atomic_write(path) as stream:
        Image.fromarray(np.ascontiguousarray(image)).save(stream, format=kind, quality=95)


def write_mask(path: Path, mask: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write uint8 or uint16 [H, W] atomically as a grey PNG. Raises StorageError."""
    with atomic_write(path) as stream:
        Image.fromarray(mask).save(stream, format="PNG")


def _check(what: Path | str, image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"{what}: not written: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")


def resize_image(image: Pixels, width: int, height: int) -> Pixels:
    """Antialiased resize of uint8 [H, W, 3], or [H, W]; other aspect ratios are squeezed."""
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)
