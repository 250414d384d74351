"""Folders that programs expect of a user: a home, a place for temporary files, a cache.

In a container the user may have no home, or one that cannot be written (`docker run --user 12345`), and a batch
system's TMPDIR may be gone. In their place stands a private folder among the temporary ones, which this user's
processes share.
"""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ssl_core.errors import StorageError
from ssl_core.files.whole import storage_errors


def supply_folders() -> None:
    """Give this process and what it starts a HOME and a TMPDIR: libraries ask for them when they are imported.

    What is there stays as it is. Raises StorageError: no folder for temporary files can be written.
    """
    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:
        raise StorageError("no folder for temporary files can be written; set TMPDIR to one that can") from None
    if not os.access(os.environ.get("TMPDIR", temporary), os.W_OK | os.X_OK):
        os.environ["TMPDIR"] = temporary
    if not os.environ.get("HOME"):
        try:
            os.environ["HOME"] = str(Path.home())
        except RuntimeError:  # no entry in the list of users either
            os.environ["HOME"] = str(private_folder())


def cache_folder() -> Path:
    """For what can be made or fetched again: `SPLATSWEEP_CACHE`, or `~/.cache/splatsweep`, which is made.

    Raises StorageError: neither that nor a private folder can be had.
    """
    if named := os.environ.get("SPLATSWEEP_CACHE"):
        with suppress(RuntimeError):  # a file .env writes ~, and no shell has replaced it
            return Path(named).expanduser().absolute()
        raise StorageError(f"SPLATSWEEP_CACHE={named}: this user has no home folder; name the whole path")
    with suppress(OSError, RuntimeError):
        folder = Path.home() / ".cache" / "splatsweep"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return private_folder()


def private_folder() -> Path:
    """A folder of this user alone among the temporary ones, made where it is not there. Raises StorageError."""
    folder = Path(tempfile.gettempdir()) / f"splatsweep-{os.getuid()}"
    with storage_errors(folder, "set HOME or SPLATSWEEP_CACHE to a folder of yours"):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.getuid():
            raise PermissionError(errno.EPERM, "it is another user's")
    return folder
