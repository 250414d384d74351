"""Where bytes come from: a file, or a member of a zip archive that is read in place.

Both kinds are plain values, so that they travel to workers; nothing is open until it is read.
"""

import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ssl_core.errors import DataError

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


Source = FileSource | ZipSource


def as_source(place: Source | Path | str) -> Source:
    """A path as a source; sources stay what they are."""
    return place if isinstance(place, FileSource | ZipSource) else FileSource(Path(place))


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
