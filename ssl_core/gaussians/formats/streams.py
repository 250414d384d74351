"""Reading a source in blocks: its real size first, then never more than one block at a time.

Shared by the decoders of files of Gaussians.
"""

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

_SIGNATURES = (
    (b"ply\n", "a .ply"),
    (b"ply\r", "a .ply"),
    (b"\x1f\x8b\x08", "gzip data (a .spz, or a file to gunzip)"),
    (b"NGSP", "a .spz"),
    (b"PK\x03\x04", "a zip archive (a .sog, or one to unzip)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff\xe0", "a JPEG picture"),
    (b"\xff\xd8\xff\xe1", "a JPEG picture"),
    (b"glTF\x02\x00\x00\x00", "a binary glTF"),
    (b"\x93NUMPY", "a numpy array"),
    (b"version https://git-lfs", "a Git LFS pointer: run git lfs pull"),
    (b"<!DOCTYPE", "a web page, not the file it links to"),
    (b"<!doctype", "a web page, not the file it links to"),
    (b"<html", "a web page, not the file it links to"),
)
"""First bytes of what is often given for a file of Gaussians. Read as floats, each would hold one below 1e-30 or above
1e8, so that no real .splat starts so."""


def looks_like(start: bytes) -> str:
    """What a file that starts so is, in words; empty when unknown."""
    for signature, words in _SIGNATURES:
        # gzip's fourth byte is a set of five flags; without this test two Gaussians in 2^24 would start as gzip does.
        if start.startswith(signature) and (signature != b"\x1f\x8b\x08" or start[3:4] < b"\x20"):
            return words
    return ""


@contextmanager
def opened(source: Source, kind: type[GaussianFileError]) -> Iterator[BinaryIO]:
    """The source as a stream; whatever cannot be read, here or in the block, is one `kind` of error.

    Raises:
        GaussianFileError: missing, empty, unreadable, or a damaged member of an archive.
    """
    try:
        # The size comes first: a pipe has none and would wait for ever when opened.
        if source.size == 0:
            raise kind(f"{source}: is empty (0 bytes); write or copy it again")
        if isinstance(source, ZipSource) and source.size > MEMBER_LIMIT:
            raise kind(
                f"{source}: unpacks to {source.size:,} bytes, more than the {MEMBER_LIMIT:,} read from inside an "
                "archive; unpack the archive first"
            )
        with source.open() as stream:
            yield stream
    except GaussianFileError:
        raise
    except DataError as error:
        raise kind(str(error)) from None
    except (OSError, *DAMAGED) as error:
        # Damaged archives surface as almost anything; from a plain file anything but OSError is a bug of ours.
        if isinstance(source, FileSource) and not isinstance(error, OSError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise kind(f"{source}: cannot be read ({reason}); check the disk or copy the file again") from error


def read_blocks(
    source: Source, stream: BinaryIO, rows: int, row_size: int, kind: type[GaussianFileError]
) -> Iterator[tuple[slice, Bytes]]:
    """The next `rows` rows of `row_size` bytes: (which rows, their bytes [n * row_size]), in one buffer used again.

    Raises:
        GaussianFileError: the stream ends before.
    """
    if row_size == 0:
        return
    at_once = max(1, BLOCK // row_size)
    buffer = np.empty(min(rows, at_once) * row_size, dtype=np.uint8)
    for first in range(0, rows, at_once):
        block = buffer[: min(at_once, rows - first) * row_size]
        read_into(source, stream, block.data, kind)
        yield slice(first, first + len(block) // row_size), block


def read_into(source: Source, stream: BinaryIO, view: memoryview, kind: type[GaussianFileError]) -> None:
    """Fill `view` from the stream. Raises GaussianFileError when it ends before."""
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise kind(f"{source}: is truncated: it ends {len(view) - done} bytes early; copy it again")
        done += got


def skip(source: Source, stream: BinaryIO, count: int, kind: type[GaussianFileError]) -> None:
    """Move `count` bytes on. Files are sought; members of archives are read, so that their checksum stays known."""
    if isinstance(source, FileSource):
        stream.seek(count, 1)
        return
    for _ in read_blocks(source, stream, count, 1, kind):
        pass


def finish(source: Source, stream: BinaryIO) -> None:
    """Read a member of an archive to its end, where its checksum is compared; nothing for a file."""
    if isinstance(source, ZipSource):
        while stream.read(BLOCK):
            pass


def columns_at(block: Bytes, rows: int, row_size: int, offset: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """A view [rows, count] of values that stand side by side at `offset` of each row."""
    return np.ndarray((rows, count), dtype, block, offset, (row_size, dtype.itemsize))
