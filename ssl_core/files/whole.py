"""Files and folders that are either absent or whole: written beside their place, then moved into it.

Derived folders are named by what they are made from: made once, by whoever comes first, and shared.

    <root>/<address>/       the result, whole: it has its name only once it is complete
    <root>/<address>.lock   held while it is made; the system releases it when its holder dies

An address names everything that decides the bytes: settings, digests of the data, a version of the code. Such folders
may be deleted when nobody uses them.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from ssl_core.errors import StorageError

Say = Callable[[str], None]

REMEDY = "free some space or choose another place"

_WAIT_BEFORE_SAYING = 3.0
"""Seconds after which a waiting process says that it waits."""


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

    Raises StorageError: the disk is full or may not be written.
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

    An older `folder` is replaced. Missing parents are made. A `sole_writer` first removes what killed writers left
    beside it; `remedy` is what to do when the disk refuses.

    Raises StorageError: the disk is full or may not be written.
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

    Raises OSError: as renaming does.
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


def derived_folder(root: Path, address: str, make: Callable[[Path], None], *, say: Say | None = None) -> Path:
    """`root/address`, whole; made now if nobody made it before.

    `make` fills the empty folder it is given; when it raises or dies, nothing is left and the next caller tries.
    `say` is told when another process has been making the folder for a while.

    Raises:
        StorageError: `root` cannot be written, or its file system has no locks; an OSError of `make` becomes one.
        Whatever else `make` raises.
    """
    if not re.fullmatch(r"\w[\w.+=-]*", address):
        raise ValueError(f"address {address!r} is no plain file name")
    folder = root / address
    if folder.is_dir():
        return folder
    with locked(folder, say):
        if not folder.is_dir():
            with whole_folder(folder) as new:
                make(new)
    return folder


@contextmanager
def locked(folder: Path, say: Say | None = None, remedy: str = REMEDY) -> Iterator[None]:
    """One process at a time for `folder`; the others wait as long as it lives.

    Raises StorageError: the lock file cannot be written, or the file system has no locks.
    """
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        with storage_errors(folder.parent, remedy):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=_WAIT_BEFORE_SAYING)
            except Timeout:
                if say is not None:
                    say(f"another process makes {folder.name}; waiting for it")
                lock.acquire()
    except NotImplementedError as error:
        raise StorageError(f"{folder.parent}: its file system has no locks ({error}); {remedy}") from error
    try:
        yield
    finally:
        lock.release()
