"""Where a study's lines are kept: a file that survives any death, or memory for simulations.

A group of lines is one write. One process writes at a time, the holder of the driver's lock, so a write needs no
lock of its own. Whatever a failed or interrupted write left behind is cut off before the next one.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ssl_core.errors import StorageError, StudyError
from study.record.journal_lines import MORE, Line

REMEDY = "restore it from a copy, or start the study under another --name"

_FULL = "free space or allow writing"
_TAKEN = "something else is in its place: move that away"
_GONE = "see that the folder is there and SPLATSWEEP_HOME names it"
_DISK = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM), _FULL),
    errno.EIO: "see to the disk",
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), _TAKEN),
    **dict.fromkeys((errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ELOOP, errno.ENAMETOOLONG), _GONE),
}
"""What can be wrong with a place, and what to do about it."""


class Journal(Protocol):
    """Lines in the order they were written."""

    def read(self) -> list[Line]:
        """The lines that are new since the last call; the first call gives all."""
        ...

    def append(self, group: Sequence[Line], *, sync: bool) -> None:
        """Write lines that belong together: all of them, or none and an error.

        Args:
            sync: wait until they would survive the machine's death too, and with them all lines before.
        """
        ...


class MemoryJournal:
    """Kept for the life of the process."""

    def __init__(self) -> None:
        self._waiting: list[Line] = []

    def read(self) -> list[Line]:
        lines, self._waiting = self._waiting, []
        return lines

    def append(self, group: Sequence[Line], *, sync: bool) -> None:
        # through JSON, as a file would do it: what cannot be written must not be remembered either
        self._waiting.extend(json.loads(json.dumps(line)) for line in group)


class FileJournal:
    """`journal.log` of a study's folder.

    Args:
        path: the file; it need not exist yet.
        writable: the caller holds the driver's lock; a torn end is then removed when the file is read first.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path, self._writable = path, writable
        self._end = 0  # of what was read
        self._line = 0
        self._good: int | None = None  # where the file must be cut before the next write

    def read(self) -> list[Line]:
        """See `Journal`. Raises StudyError naming the line that is not one."""
        if not self.path.exists() or not _regular(self.path):
            return []
        with _readable(self.path) as stream:
            size = stream.seek(0, os.SEEK_END)
            if size < self._end:
                raise StudyError(
                    f"{self.path} became shorter ({self._end} bytes were written, {size} are left); {REMEDY}"
                )
            stream.seek(self._end)
            content = stream.read()
        lines, length = self._parse(content)
        if self._end == 0 and length < len(content) and self._writable:
            self._good = length
            self._cut()
        self._end += length
        self._line += len(lines)
        return lines

    def append(self, group: Sequence[Line], *, sync: bool) -> None:
        if not self._writable:
            raise StudyError(f"{self.path} was opened for reading; only the process that runs the study writes")
        content = _encoded(group)
        self._cut()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            self._good = os.fstat(descriptor).st_size  # until all of it is written
            _write_all(descriptor, content, self.path)
            if sync:
                os.fdatasync(descriptor)
            self._good = None
        except OSError:
            # a disk that refused the write may refuse this too; then it is done before the next write
            with suppress(OSError):
                self._cut()
            raise
        finally:
            os.close(descriptor)

    def _cut(self) -> None:
        """Remove what an unfinished write left behind the last whole group."""
        if self._good is not None and self.path.exists() and _regular(self.path):
            os.truncate(self.path, self._good)
        self._good = None

    def _parse(self, content: bytes) -> tuple[list[Line], int]:
        """The whole groups at the start of `content`, and their length in bytes.

        What follows them is left by an unfinished write if nothing in it is a line; else the file is damaged.
        """
        lines: list[Line] = []
        whole = length = position = 0
        for number, text in enumerate(content.split(b"\n")[:-1], start=self._line + 1):
            line = _decoded(text)
            if line is None:
                rest = content[position + len(text) + 1 :]
                if any(_decoded(later) is not None for later in rest.split(b"\n")[:-1]):
                    raise StudyError(f"{self.path} is damaged: line {number} is not a line of a journal; {REMEDY}")
                break
            position += len(text) + 1
            lines.append(line)
            if not line.get(MORE, 0):
                whole, length = len(lines), position
        return lines[:whole], length


def count_lines(path: Path) -> int:
    """Whole lines of a journal's file, without reading what they say; 0 where there is none."""
    try:
        with path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


def _encoded(group: Sequence[Line]) -> bytes:
    last = len(group) - 1
    lines = [line | {MORE: last - i} if i < last else line for i, line in enumerate(group)]
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines).encode()


def _decoded(text: bytes) -> Line | None:
    try:
        line = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and isinstance(line.get("op_code"), int) else None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _write_all(descriptor: int, content: bytes, path: Path) -> None:
    written = 0
    while written < len(content):
        count = os.write(descriptor, content[written:])
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written += count


def _readable(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except PermissionError:
        raise StudyError(f"{path} may not be read by this user; ask its owner, or allow reading") from None


def _regular(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A disk that is full, read-only, gone or taken becomes a StorageError naming the place."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK:
            place = error.filename2 or error.filename or folder
            raise StorageError(
                f"{place}: {error.strerror}; nothing is lost: {_DISK[error.errno]}, then start the same command again"
            ) from error
        raise
