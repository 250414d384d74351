"""The images of a .sog file: lossless WebP or 8-bit PNG, whose claimed size is checked before anything is decoded."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_core.errors import GaussianFileError
from ssl_core.files.image_files import DECODING
from ssl_core.files.source import Source

Pixels = NDArray[np.uint8]

_PNG = b"\x89PNG\r\n\x1a\n"

_REFUSED = (*DECODING, Image.DecompressionBombError, Image.DecompressionBombWarning)


def image_size(source: Source, name: str, content: bytes) -> tuple[int, int]:
    """Width and height that the image claims; nothing is decoded.

    Raises:
        GaussianFileError: neither a still lossless WebP nor a PNG of 8 bits per channel.
    """
    if content[:8] == _PNG and content[12:16] == b"IHDR" and len(content) >= 33:
        width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
        if depth != 8 or colour not in (2, 6):
            raise _refusal(source, name, "is a PNG without 8-bit RGB or RGBA", "export it as lossless WebP")
        return width, height
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp_size(source, name, content)
    raise _refusal(source, name, "is neither WebP nor PNG", "export it again")


def decode_image(source: Source, name: str, content: bytes) -> Pixels:
    """Pixels [H, W, 4]; without alpha, it is 255.

    Raises:
        GaussianFileError: damaged; names the image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP", "PNG")) as image:
            if image.size != image_size(source, name, content) or image.mode not in ("RGB", "RGBA"):
                raise ValueError("its size or mode is not what its header says")
            pixels: Pixels = np.asarray(image.convert("RGBA"))
    except _REFUSED as error:
        reason = " ".join(str(error).split())[:120]
        raise _refusal(source, name, f"is damaged ({reason})", "copy it again") from None
    return pixels


def _webp_size(source: Source, name: str, content: bytes) -> tuple[int, int]:
    """Size of the one VP8L chunk. Lossy chunks would change the numbers, animations have many."""
    offset = 12
    while offset + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, offset)
        if kind in (b"VP8 ", b"ANIM", b"ANMF"):
            what = "is lossy WebP, which changes the numbers" if kind == b"VP8 " else "is animated"
            raise _refusal(source, name, what, "export it as lossless WebP")
        if kind == b"VP8L" and offset + 13 <= len(content) and content[offset + 8] == 0x2F:
            bits = int.from_bytes(content[offset + 9 : offset + 13], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        offset += 8 + size + size % 2
    raise _refusal(source, name, "is no whole WebP", "copy it again")


def _refusal(source: Source, name: str, what: str, remedy: str) -> GaussianFileError:
    return GaussianFileError(f"{source}: image {name!r} {what}; {remedy}")
