"""Files that are either absent or whole: written beside their place, then moved into it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ssl_core.errors import StorageError


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary stream that becomes `path` when the block ends well, and leaves nothing when it does not.

    Missing parent folders are made. The temporary name starts with a dot: readers of a folder never take it.

    Raises:
        StorageError: the disk is full or may not be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            yield stream
        temporary.replace(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(f"{path}: cannot be written: {reason}; free some space or choose another place") from error
    finally:
        with suppress(OSError):  # a parent that is a file has nothing to remove either
            temporary.unlink(missing_ok=True)
