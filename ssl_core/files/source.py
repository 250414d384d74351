"""Where bytes come from: a file, a member of a zip archive that is read in place, or one object of an .h5 file.

All kinds are plain values, so that they travel to workers; nothing is open until it is read.
"""

import io
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.lib.format import write_array_header_1_0

from ssl_core.errors import DataError
from ssl_core.files.h5_file import read_row

# What the archive reader may raise on damaged bytes, a password, an unknown method and names that are no UTF-8.
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, ValueError, OverflowError, LookupError)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on disk."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes. Raises DataError when there is no such file."""
        return self._stat().st_size

    @property
    def stamp(self) -> str:
        """Cheap identity of the content: size and times of change. The second of them nobody can set back."""
        found = self._stat()
        return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"

    def open(self) -> BinaryIO:
        """A seekable stream. Raises DataError when the file cannot be opened, or is a folder, pipe or device."""
        self._stat()  # opening a pipe would wait for its other end
        try:
            return self.path.open("rb")
        except OSError as error:
            raise DataError(f"{self}: cannot be opened: {error.strerror or error}; check the path") from None

    def _stat(self) -> os.stat_result:
        try:
            found = self.path.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self}: cannot be opened: {reason}; check the path") from None
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{self}: cannot be opened: it is no regular file; check the path")
        return found


@dataclass(frozen=True, slots=True)
class ZipSource:
    """A member of a zip archive. `size` and `crc` are what its directory claims; reading checks both."""

    archive: Path
    member: str
    size: int
    crc: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.member}"

    @property
    def name(self) -> str:
        """Last part of the member's name."""
        return PurePosixPath(self.member).name

    @property
    def stamp(self) -> str:
        """Cheap identity of the content: size and checksum."""
        return f"{self.size}:{self.crc:08x}"

    def open(self) -> BinaryIO:
        """A stream that ends with an error when the checksum is wrong. Raises DataError for a damaged archive."""
        try:
            archive = open_archive(self.archive)
            info = archive.getinfo(self.member)
            if (info.file_size, info.CRC) != (self.size, self.crc):
                raise DataError(f"{self}: the archive changed since it was listed; start again")
            return archive.open(info)  # type: ignore[return-value]
        except (OSError, *DAMAGED) as error:
            raise DataError(f"{self}: cannot be read from the archive ({error}); make the archive again") from None


@dataclass(frozen=True, slots=True)
class H5Source:
    """One object of a set in an .h5 file: the row `row` of its arrays, side by side, as the bytes of a .npy.

    `shape` is that of the object, [N, C]; `keys` name the arrays, whose widths add up to C.
    """

    file: FileSource | ZipSource
    keys: tuple[str, ...]
    row: int
    shape: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.file} row {self.row}"

    @property
    def name(self) -> str:
        """A name for the .npy: that of the file and the row."""
        return f"{PurePosixPath(self.file.name).stem}_{self.row:05d}.npy"

    @property
    def size(self) -> int:
        """Bytes of the .npy."""
        return len(self._head) + 4 * self.shape[0] * self.shape[1]

    @property
    def stamp(self) -> str:
        """Cheap identity of the content: the file's, and the row. Raises DataError."""
        return f"{self.file.stamp}:{self.row}"

    def open(self) -> BinaryIO:
        """A seekable stream. Raises DataError when the file cannot be read."""
        values = np.concatenate([read_row(self.file, key, self.row) for key in self.keys], axis=1)
        if values.shape != self.shape:
            raise DataError(f"{self}: has shape {list(values.shape)}, and had {list(self.shape)}; start again")
        return io.BytesIO(self._head + values.tobytes())

    @property
    def _head(self) -> bytes:
        stream = io.BytesIO()
        write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": self.shape})
        return stream.getvalue()


Source = FileSource | ZipSource | H5Source


def as_source(place: Source | Path | str) -> Source:
    """A path as a source; sources stay what they are."""
    return place if isinstance(place, FileSource | ZipSource | H5Source) else FileSource(Path(place))


def read_bytes(source: Source, limit: int) -> bytes:
    """All bytes of a source, at most `limit`: what it claims is checked before anything is read.

    Raises DataError: larger than `limit`, longer or shorter than claimed, or damaged; names the source.
    """
    size = source.size
    if size > limit:
        raise DataError(f"{source}: is {size:,} bytes long, more than the {limit:,} allowed here; split or shrink it")
    try:
        with source.open() as stream:
            content = stream.read(size + 1)
    except (OSError, *DAMAGED) as error:
        raise DataError(f"{source}: cannot be read ({error}); copy it again") from None
    if len(content) != size:
        raise DataError(f"{source}: has {len(content):,} bytes where {size:,} were expected; copy it again")
    return content


def open_archive(path: Path) -> zipfile.ZipFile:
    """The archive, kept open by this process: its directory is parsed once, however many members are read.

    Raises OSError, or one of DAMAGED: no such file, or no archive.
    """
    found = path.stat()
    # A forked process would share the position in the file with its parent: it opens the archive for itself.
    return _opened(path, found.st_size, found.st_mtime_ns, os.getpid())


@lru_cache(maxsize=64)
def _opened(path: Path, size: int, changed: int, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
