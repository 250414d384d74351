"""Files and folders that are either absent or whole: written beside their place, then moved into it."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ssl_core.errors import StorageError

REMEDY = "free some space or choose another place"


@contextmanager
def storage_errors(place: Path, remedy: str = REMEDY, doing: str = "written") -> Iterator[None]:
    """What the operating system says about a disk, as a StorageError naming `place` and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"{place}: cannot be {doing}: {reason}; {remedy}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary stream that becomes `path` when the block ends well, and leaves nothing when it does not.

    Missing parent folders are made. The temporary name starts with a dot: readers of a folder never take it.

    Raises:
        StorageError: the disk is full or may not be written.
    """
    temporary = _beside(path)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                yield stream
            temporary.replace(path)
    finally:
        with suppress(OSError):  # a parent that is a file has nothing to remove either
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, remedy: str = REMEDY, sole_writer: bool = True) -> Iterator[Path]:
    """An empty folder that becomes `folder` when the block ends well, and leaves nothing when it does not.

    An older `folder` is replaced. Missing parents are made.

    Args:
        folder: where the folder will stand.
        remedy: what to do when the disk refuses.
        sole_writer: nobody else writes this folder now, so what killed writers left beside it is removed first.

    Raises:
        StorageError: the disk is full or may not be written.
    """
    temporary = _beside(folder)
    try:
        with storage_errors(folder, remedy):
            if sole_writer:
                for left in folder.parent.glob(f".{folder.name}.*.tmp"):
                    shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(made: Path, folder: Path) -> None:
    """Rename `made` to `folder`, replacing an older one. A crash leaves the old or the new one, at `standing(folder)`.

    Raises:
        OSError: as renaming does.
    """
    older = _older(folder)
    if folder.exists():
        shutil.rmtree(older, ignore_errors=True)
        folder.rename(older)
    made.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def standing(folder: Path) -> Path:
    """Where the content of `folder` is: there, or beside it when a writer died between the renames of an exchange."""
    older = _older(folder)
    return older if not folder.exists() and older.exists() else folder


def mend(folder: Path) -> None:
    """Finish the exchange of a writer that died. Only for whoever may write `folder`. Raises OSError."""
    if (found := standing(folder)) != folder:
        found.rename(folder)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _older(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
