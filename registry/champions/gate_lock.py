"""Two gates at once on one machine: one waits. Across machines nobody waits, and the history says who came first.

The embedded store is a file, so a file beside it locks. A server is shared by machines that share no file; there a
gate reads, decides, and writes the next line of the history, which only one can do (`history_store`). Who comes
too late reads and decides again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError

PATIENCE = 120.0
"""Seconds; what is done under the lock takes a few"""
_EMBEDDED = "sqlite:///"


@contextmanager
def judging_lock(store: EncoderStore, name: str) -> Iterator[None]:
    """Held while the champion of `name` is read and changed. Not for evaluations, which take minutes.

    Raises:
        RegistryError: another program has held it for two minutes.
    """
    address = store.run_log.tracking_uri
    if not address.startswith(_EMBEDDED):
        yield
        return
    folder = Path(address.removeprefix(_EMBEDDED)).parent
    lock = FileLock(folder / f"judging-{name}.lock", timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise RegistryError(
            f"another program has been judging {name} for {PATIENCE:g} s (it holds {lock.lock_file}); try again later"
        ) from None
    try:
        yield
    finally:
        lock.release()


def shared_by_machines(store: EncoderStore) -> bool:
    """Whether others may move an alias while this program holds the lock."""
    return not store.run_log.tracking_uri.startswith(_EMBEDDED)
