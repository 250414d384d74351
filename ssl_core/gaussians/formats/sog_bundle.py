"""The parts of a .sog: a small zip archive, or a folder, of which only the files that its meta.json names are read.

Images are lossless WebP or 8-bit PNG; the size they claim is checked before anything is decoded.
"""

import io
import lzma
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_core.errors import GaussianFileError
from ssl_core.files.image_files import DECODING
from ssl_core.files.source import DAMAGED, Source, read_bytes
from ssl_core.gaussians.formats.bounded_reading import one_line

Pixels = NDArray[np.uint8]

META = "meta.json"
MAX_ENTRIES = 256
MAX_META_BYTES = 1024 * 1024
MAX_DEFLATE_RATIO = 1032

_PNG = b"\x89PNG\r\n\x1a\n"

# What the library raises on a damaged archive: it passes on whatever it met.
_DAMAGED = (*DAMAGED, lzma.LZMAError, OSError, TypeError)
_NO_IMAGE = (*DECODING, Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, eq=False)
class SogBundle:
    """An archive in memory whose directory was checked; `members` by name within the folder of meta.json."""

    size: int
    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]

    def packed_size(self, names: Sequence[str]) -> int:
        """Bytes that these parts are unpacked from: those of the archive."""
        return self.size

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a member, at most `limit`.

        Raises GaussianFileError: no plain name, no such member, an impossible size, encrypted or damaged.
        """
        _check_plain(name)
        info = self.members.get(name)
        if info is None:
            raise GaussianFileError(f"lacks the member {name[:80]!r}; export it again")
        self._check(info, limit)
        try:
            with self.archive.open(info) as stream:
                content = stream.read(info.file_size + 1)
        except _DAMAGED as error:
            raise GaussianFileError(f"member {name[:80]!r} is damaged ({one_line(error)}); copy it again") from None
        if len(content) != info.file_size:
            raise GaussianFileError(
                f"member {name[:80]!r} has {len(content):,} bytes where its directory says "
                f"{info.file_size:,}; copy it again"
            )
        return content

    def _check(self, info: zipfile.ZipInfo, limit: int) -> None:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise GaussianFileError(
                f"member {info.filename[:80]!r} is encrypted or packed by method {info.compress_type}; "
                "only stored and deflated ones are read: zip it again"
            )
        if info.file_size > limit:
            raise GaussianFileError(
                f"member {info.filename[:80]!r} claims {info.file_size:,} bytes, more than the "
                f"{limit:,} allowed; export it again"
            )
        if info.compress_size > self.size or info.file_size > MAX_DEFLATE_RATIO * max(1, info.compress_size):
            raise GaussianFileError(
                f"member {info.filename[:80]!r} claims {info.file_size:,} bytes from "
                f"{info.compress_size:,} in an archive of {self.size:,}, which cannot be; export it again"
            )


@dataclass(frozen=True, eq=False)
class SogFolder:
    """An unbundled .sog: meta.json and what lies beside it, by name."""

    meta: Source
    find: Callable[[str], Source | None]

    def packed_size(self, names: Sequence[str]) -> int:
        """Bytes of the files of these names. Raises DataError: one of them is missing."""
        return self.meta.size + sum(self._beside(name).size for name in names)

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a file, at most `limit`. Raises DataError: no plain name, no such file, too large."""
        return read_bytes(self.meta if name == META else self._beside(name), limit)

    def _beside(self, name: str) -> Source:
        _check_plain(name)
        found = self.find(name)
        if found is None:
            raise GaussianFileError(
                f"names {name[:80]!r}, which does not lie beside it; put the whole folder there, or give a bundled .sog"
            )
        return found


def _check_plain(name: str) -> None:
    if not name or name in (".", "..") or any(mark in name for mark in "/\\\0:"):
        raise GaussianFileError(f"{META} names the file {name[:80]!r}; a plain name without folders is allowed only")


def open_bundle(content: bytes) -> SogBundle:
    """Open the archive and find meta.json, in its root or in its one top-level folder.

    Raises GaussianFileError: no zip archive, too many entries, a name twice, no meta.json.
    """
    # The library makes an object of some hundred bytes per entry, so they are counted before.
    entries = content.count(b"PK\x01\x02")
    if entries > MAX_ENTRIES:
        raise GaussianFileError(
            f"has {entries:,} directory entries; a .sog has nine: zip only meta.json and its images"
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        infos = [info for info in archive.infolist() if not info.is_dir()]
    except _DAMAGED as error:
        raise GaussianFileError(
            f"is no readable zip archive ({one_line(error)}), so no .sog, or it is truncated; copy it again"
        ) from None
    names = [info.filename for info in infos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GaussianFileError(f"has the member {twice[0][:80]!r} twice; export it again")
    folder = _folder(names)
    members = {info.filename[len(folder) :]: info for info in infos if info.filename.startswith(folder)}
    return SogBundle(len(content), archive, members)


def _folder(names: list[str]) -> str:
    """Where meta.json is: "" or "name/"."""
    if META in names:
        return ""
    folders = [name[: -len(META)] for name in names if name.count("/") == 1 and name.endswith("/" + META)]
    if len(folders) != 1 or folders[0] in ("/", "./", "../"):
        raise GaussianFileError(
            f"has no {META} in its root or its one folder, so it is no .sog; members: "
            f"{', '.join(repr(name[:40]) for name in names[:4]) or 'none'}: export it again"
        )
    return folders[0]


def image_size(name: str, content: bytes) -> tuple[int, int]:
    """Width and height that the image claims; nothing is decoded.

    Raises GaussianFileError: neither a still lossless WebP nor a PNG of 8 bits per channel.
    """
    if content[:8] == _PNG and content[12:16] == b"IHDR" and len(content) >= 33:
        width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
        if depth != 8 or colour not in (2, 6):
            raise _refusal(name, "is a PNG without 8-bit RGB or RGBA", "export it as lossless WebP")
        return width, height
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _webp_size(name, content)
    raise _refusal(name, "is neither WebP nor PNG", "export it again")


def decode_image(name: str, content: bytes) -> Pixels:
    """Pixels [H, W, 4]; without alpha, it is 255. Raises GaussianFileError: damaged; names the image."""
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP", "PNG")) as image:
            if image.size != image_size(name, content) or image.mode not in ("RGB", "RGBA"):
                raise ValueError("its size or mode is not what its header says")
            pixels: Pixels = np.asarray(image.convert("RGBA"))
    except _NO_IMAGE as error:
        raise _refusal(name, f"is damaged ({one_line(error)})", "copy it again") from None
    return pixels


def _webp_size(name: str, content: bytes) -> tuple[int, int]:
    """Size of the one VP8L chunk. Lossy chunks would change the numbers, animations have many."""
    offset = 12
    while offset + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, offset)
        if kind in (b"VP8 ", b"ANIM", b"ANMF"):
            what = "is lossy WebP, which changes the numbers" if kind == b"VP8 " else "is animated"
            raise _refusal(name, what, "export it as lossless WebP")
        if kind == b"VP8L" and offset + 13 <= len(content) and content[offset + 8] == 0x2F:
            bits = int.from_bytes(content[offset + 9 : offset + 13], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        offset += 8 + size + size % 2
    raise _refusal(name, "is no whole WebP", "copy it again")


def _refusal(name: str, what: str, remedy: str) -> GaussianFileError:
    return GaussianFileError(f"image {name!r} {what}; {remedy}")
