"""Work whose result is named by what it is made from: made once, by whoever comes first, and shared.

    <root>/<address>/       the result, whole: it has its name only once it is complete
    <root>/<address>.lock   held while it is made; the system releases it when its holder dies

An address names everything that decides the bytes: settings, digests of the data, a version of the code. Folders may be
deleted when nobody uses them.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ssl_core.errors import StorageError
from ssl_core.files.whole import REMEDY, storage_errors, whole_folder

Say = Callable[[str], None]

_WAIT_BEFORE_SAYING = 3.0
"""Seconds after which a waiting process says that it waits."""


def derived_folder(root: Path, address: str, make: Callable[[Path], None], *, say: Say | None = None) -> Path:
    """`root/address`, whole; made now if nobody made it before.

    Args:
        root: folder of such results.
        address: a plain file name that changes with whatever decides the content.
        make: fills the empty folder it is given. When it raises or dies, nothing is left and the next caller tries.
        say: told when another process has been making it for a while.

    Raises:
        StorageError: `root` cannot be written, or its file system has no locks. Also whatever `make` raises, once.
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

    Raises:
        StorageError: the lock file cannot be written, or the file system has no locks.
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
