"""Many files into one, each removed as soon as its bytes have arrived: a pack being put together is not on disk twice.

How far a joined file has come is told by which pieces are gone, so a killed join goes on where it was.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from ssl_core.data.manifest import BLOCK_BYTES, FileFacts

_COPY_BYTES = 2**20


@dataclass(frozen=True)
class Piece:
    """A file, and the bytes that it becomes.

    Args:
        file: removed when its bytes have arrived.
        bytes: how many.
        read: the bytes, in pieces that are good until the next one; None takes the file as it is.
    """

    file: Path
    bytes: int
    read: Callable[[], Iterator[memoryview]] | None = None


@dataclass(frozen=True)
class Joined:
    """A file that is to become a header and the bytes of its pieces."""

    target: Path
    header: bytes
    pieces: tuple[Piece, ...]

    @property
    def arrived(self) -> int:
        """How many pieces are gone."""
        return next((i for i, piece in enumerate(self.pieces) if piece.file.exists()), len(self.pieces))

    def bytes_of(self, count: int) -> int:
        """Length of the file when so many pieces have arrived."""
        return (len(self.header) + sum(piece.bytes for piece in self.pieces[:count])) if count else 0

    def is_sound(self) -> bool:
        """Whether what has arrived is there, and what has not is too."""
        count = self.arrived
        there = self.target.stat().st_size if self.target.is_file() else 0
        return there >= self.bytes_of(count) and all(piece.file.is_file() for piece in self.pieces[count:])


def join(joined: Joined) -> FileFacts:
    """Write the file, or the rest of it; digests are taken on the way. Raises OSError."""
    count = joined.arrived
    with BlockWriter(joined.target, joined.bytes_of(count)) as file:
        if count == 0:
            file.write(joined.header)
        for piece in joined.pieces[count:]:
            for content in _content(piece.file) if piece.read is None else piece.read():
                file.write(content)
            piece.file.unlink()
    return file.facts


def _content(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_COPY_BYTES))  # one for all: new memory costs more than the copy
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            yield buffer[:count]


class BlockWriter:
    """A file being written whose blocks of BLOCK_BYTES are digested on the way.

    Args:
        path: the file.
        start: its first bytes, so many, are there already; the rest is cut off.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._stream = path.open("r+b" if start else "wb", buffering=0)
        self._digest = hashlib.sha256()
        self._blocks: list[str] = []
        self._bytes = 0
        self._read_again(start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def write(self, content: bytes | memoryview) -> None:
        """Append. Raises OSError."""
        rest = memoryview(content)
        self._count(rest)
        while len(rest):  # an unbuffered write may take less than it was given
            rest = rest[self._stream.write(rest) :]

    def _read_again(self, start: int) -> None:
        buffer = memoryview(bytearray(_COPY_BYTES)) if start else memoryview(b"")
        while self._bytes < start:
            count = self._stream.readinto(buffer[: start - self._bytes])
            if not count:
                raise OSError(f"only {self._bytes} of {start} bytes are there")
            self._count(buffer[:count])
        self._stream.truncate(start)

    def _count(self, content: memoryview) -> None:
        while len(content):
            head = content[: BLOCK_BYTES - self._bytes % BLOCK_BYTES]
            self._digest.update(head)
            self._bytes += len(head)
            content = content[len(head) :]
            if self._bytes % BLOCK_BYTES == 0:
                self._blocks.append(self._digest.hexdigest())
                self._digest = hashlib.sha256()

    @property
    def facts(self) -> FileFacts:
        """Length and digests of what was written."""
        open_block = [self._digest.hexdigest()] if self._bytes % BLOCK_BYTES else []
        return FileFacts(bytes=self._bytes, blocks=(*self._blocks, *open_block))


def npy_header(shape: tuple[int, ...], kind: str) -> bytes:
    """How an .npy file begins whose values are of `kind`, as "<f4"."""
    stream = io.BytesIO()
    write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def write_array(path: Path, values: NDArray[Any]) -> FileFacts:
    """Write an .npy file, little-endian. Raises OSError."""
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    with BlockWriter(path) as file:
        file.write(npy_header(values.shape, values.dtype.str) + values.tobytes())
    return file.facts
