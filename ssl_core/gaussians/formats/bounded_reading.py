"""Reading what nobody has checked: sizes before memory, a block at a time, never more unpacked than a header may claim.

Shared by the decoders of files of Gaussians. Their refusals say what is wrong; `naming` puts the file's name before.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import DataError, GaussianFileError
from ssl_core.files.source import DAMAGED, FileSource, Source, ZipSource

Bytes = NDArray[np.uint8]

BLOCK = 1 << 20
"""Bytes read at a time; it stays in the processor's cache while its columns are copied."""

MEMBER_LIMIT = 1 << 30
"""A member of an archive may not claim more bytes: it must be unpacked to its end for its checksum."""

MAX_RATIO = 1024
"""Bytes unpacked per byte of file that are believed: as good as all that DEFLATE can do (1,032). zstd can do more, on
Gaussians that no training makes."""

ALWAYS = 4 * 1024 * 1024
"""Bytes that any file may unpack to: a small file of equal Gaussians is odd, not dangerous."""

GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31
_SLICE = 64 * 1024

_WEB_PAGE = "a web page, not the file it links to"
_SIGNATURES = (
    (b"ply\n", "a .ply"),
    (b"ply\r", "a .ply"),
    (b"\x1f\x8b\x08", "gzip data (a .spz, or a file to gunzip)"),
    (b"NGSP", "a .spz"),
    (b"\x00\x01\x00\x00", "a .ksplat"),
    (b"PK\x03\x04", "a zip archive (a .sog, or one to unzip)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff\xe0", "a JPEG picture"),
    (b"\xff\xd8\xff\xe1", "a JPEG picture"),
    (b"glTF\x02\x00\x00\x00", "a binary glTF"),
    (b"\x93NUMPY", "a numpy array"),
    (b"# .PCD", "a point cloud (.pcd)"),
    (b"LASF", "a point cloud (.las or .laz)"),
    (b"OFF\n", "a mesh (.off)"),
    (b"OFF\r", "a mesh (.off)"),
    (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
    *((start, _WEB_PAGE) for start in (b"<!DOCTYPE", b"<!doctype", b"<html")),
)
"""First bytes of what is often given for a file of Gaussians. Read as floats, each would hold one below 1e-30 or above
1e8, so that no real .splat starts so; but for two, of which `looks_like` sees more."""


def looks_like(start: bytes) -> str:
    """What a file that starts so is, in words; empty when unknown."""
    for signature, words in _SIGNATURES:
        if start.startswith(signature) and _goes_on(signature, start):
            return words
    return ""


def _goes_on(signature: bytes, start: bytes) -> bool:
    """Whether what follows a signature that Gaussians of a .splat might have too is not theirs."""
    match signature:
        case b"\x1f\x8b\x08":  # then a set of five flags; without this two Gaussians in 2^24 would start as gzip does
            return start[3:4] < b"\x20"
        case b"LASF":  # the version, 1.0 to 1.4: two bytes which in a .splat are a colour
            return start[24:25] == b"\x01" and start[25:26] < b"\x05"
        case _:
            return True


@contextmanager
def naming(place: object, kind: type[GaussianFileError] = GaussianFileError) -> Iterator[None]:
    """Put `place` before what the block refuses, as a `kind`; errors of a source name it already."""
    try:
        yield
    except GaussianFileError as error:
        raise kind(f"{place}: {error}") from None
    except DataError as error:
        raise kind(str(error)) from None


@contextmanager
def opened(source: Source, kind: type[GaussianFileError] = GaussianFileError) -> Iterator[BinaryIO]:
    """The source as a stream; whatever cannot be read, here or in the block, is one `kind` of error that names it.

    Raises GaussianFileError: missing, empty, unreadable, a damaged member of an archive, or what the block refuses.
    """
    with naming(source, kind):
        try:
            # The size comes first: a pipe has none and would wait for ever when opened.
            if source.size == 0:
                raise GaussianFileError("is empty (0 bytes); write or copy it again")
            if isinstance(source, ZipSource) and source.size > MEMBER_LIMIT:
                raise GaussianFileError(
                    f"unpacks to {source.size:,} bytes, more than the {MEMBER_LIMIT:,} read from inside an archive; "
                    "unpack the archive first"
                )
            with source.open() as stream:
                yield stream
        except (OSError, *DAMAGED) as error:
            # Damaged archives surface as almost anything; from a plain file anything but OSError is a bug of ours.
            if isinstance(source, FileSource) and not isinstance(error, OSError):
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise GaussianFileError(f"cannot be read ({reason}); check the disk or copy the file again") from error


def read_blocks(stream: BinaryIO, rows: int, row_size: int) -> Iterator[tuple[slice, Bytes]]:
    """The next `rows` rows of `row_size` bytes: (which rows, their bytes [n * row_size]), in one buffer used again.

    Raises GaussianFileError: the stream ends before.
    """
    if row_size == 0:
        return
    at_once = max(1, BLOCK // row_size)
    buffer = np.empty(min(rows, at_once) * row_size, dtype=np.uint8)
    for first in range(0, rows, at_once):
        block = buffer[: min(at_once, rows - first) * row_size]
        read_into(stream, block.data)
        yield slice(first, first + len(block) // row_size), block


def read_into(stream: BinaryIO, view: memoryview) -> None:
    """Fill `view` from the stream. Raises GaussianFileError when it ends before."""
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise GaussianFileError(f"is truncated: it ends {len(view) - done} bytes early; copy it again")
        done += got


def skip(source: Source, stream: BinaryIO, count: int) -> None:
    """Move `count` bytes on. Files are sought; members of archives are read, so that their checksum stays known."""
    if isinstance(source, FileSource):
        stream.seek(count, 1)
        return
    for _ in read_blocks(stream, count, 1):
        pass


def finish(source: Source, stream: BinaryIO) -> None:
    """Read a member of an archive to its end, where its checksum is compared; nothing for a file."""
    if isinstance(source, ZipSource):
        while stream.read(BLOCK):
            pass


def columns_at(block: Bytes, rows: int, row_size: int, offset: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """A view [rows, count] of values that stand side by side at `offset` of each row."""
    return np.ndarray((rows, count), dtype, block, offset, (row_size, dtype.itemsize))


def check_claim(count: int, limit: int, unpacked: int, size: int) -> None:
    """Refuse a count of Gaussians that is zero, above `limit`, or out of all proportion to the file.

    They need `unpacked` bytes without compression; the file has `size`.
    """
    if count == 0:
        raise GaussianFileError("claims 0 Gaussians; train or export it again")
    if count > limit:
        raise GaussianFileError(f"claims {count:,} Gaussians, more than the {limit:,} allowed here; prune or split it")
    if unpacked > max(ALWAYS, MAX_RATIO * size):
        raise GaussianFileError(
            f"claims {count:,} Gaussians ({unpacked:,} bytes) in a file of {size:,} bytes, which no real "
            f"file is (more than {MAX_RATIO}:1); the file is damaged or made to harm: export it again"
        )


def gunzip_head(content: bytes, size: int) -> bytes:
    """The first `size` bytes of a gzip stream, fewer when it is damaged or shorter; unpacks no more than these.

    A slice at a time: the file's name in front of the stream has any length, and so has a comment.
    """
    inflater = zlib.decompressobj(wbits=_GZIP)
    head = b""
    try:
        for start in range(0, len(content), _SLICE):
            piece = content[start : start + _SLICE]
            while piece and len(head) < size and not inflater.eof:
                head += inflater.decompress(piece, size - len(head))
                piece = inflater.unconsumed_tail
            if len(head) == size or inflater.eof:
                break
    except zlib.error:
        return b""
    return head


def gunzip(content: bytes, at_most: int) -> bytearray:
    """One whole gzip stream and nothing after it; checksum and length are verified by zlib.

    The result grows as bytes come out; nothing is allocated on a claim.

    Raises GaussianFileError: truncated, damaged, followed by other bytes, or longer than `at_most`.
    """
    inflater = zlib.decompressobj(wbits=_GZIP)
    unpacked = bytearray()
    consumed = 0
    try:
        while consumed < len(content) and not inflater.eof:
            piece = content[consumed : consumed + _SLICE]
            consumed += len(piece)
            while piece and not inflater.eof:
                unpacked += inflater.decompress(piece, at_most + 1 - len(unpacked))
                if len(unpacked) > at_most:
                    raise GaussianFileError(
                        f"unpacks to more than the {at_most:,} bytes that its header (offset 8, numPoints) "
                        "stands for; the count is wrong or the file is made to harm: export it again"
                    )
                piece = inflater.unconsumed_tail
    except zlib.error as error:
        raise GaussianFileError(
            f"the gzip stream is damaged before byte {consumed:,} ({one_line(error)}); copy it again"
        ) from None
    if not inflater.eof:
        raise GaussianFileError(f"is truncated: the gzip stream has no end after {len(content):,} bytes; copy it again")
    trailing = len(inflater.unused_data) + len(content) - consumed
    if trailing:
        raise GaussianFileError(
            f"{trailing:,} bytes follow the gzip stream at offset {len(content) - trailing:,}; "
            "cut them off or copy the file again"
        )
    return unpacked


def unzstd(name: str, frame: bytes, size: int) -> bytes:
    """One zstd frame of exactly `size` bytes when unpacked, and nothing after it; `name` is the stream's, for errors.

    Raises GaussianFileError: damaged, truncated, of another size, or followed by other bytes.
    """
    import zstandard

    try:
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise GaussianFileError(
                f"stream '{name}' claims {claimed:,} bytes where numPoints needs {size:,}; export it again"
            )
        # Never more than `size` is allocated: a frame with more to give ends in an error.
        unpacked = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise GaussianFileError(
            f"stream '{name}' is damaged, truncated or not of the {size:,} bytes that numPoints needs "
            f"({one_line(error)}); copy or export it again"
        ) from None
    if len(unpacked) != size:
        raise GaussianFileError(
            f"stream '{name}' unpacks to {len(unpacked):,} bytes where numPoints needs {size:,}; export it again"
        )
    return unpacked


def one_line(error: Exception) -> str:
    """An error's text for a message: one line, at most 120 characters."""
    return " ".join(str(error).split())[:120]
