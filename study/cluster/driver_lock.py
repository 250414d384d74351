"""One driver per study, and the name of whoever it is.

    <study>/driver.lock    locked by the driver's process: the lock goes with it, however it ends
    <study>/driver.json    who that is, with a beat that it renews; removed when it leaves in order

Some shared folders keep locks to each machine. There a holder on another machine is known by its beat: it is alive
while that changes. A driver that finds another's name in place of its own has been replaced and stops.
"""

import fcntl
import getpass
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ssl_core.config import Config
from ssl_core.errors import ConfigError, StudyError
from study.engine.ledger import disk_errors
from study.workers.trial_folder import lock_within

LOCK, HOLDER = "driver.lock", "driver.json"
BEAT_SECONDS = 2.0
DEAD_SECONDS = 8.0
"""A holder on another machine whose beat stands still this long is dead."""
_PROBE_SECONDS = 1.0
"""Who only looks whether a study runs holds the lock for an instant."""


class Holder(Config):
    """A process that runs a study."""

    host: str
    pid: int
    user: str
    since: str  # when it began, by its own clock
    machine: str  # differs between machines, also where host names do not
    token: str  # differs between invocations
    beat: int = 0  # counts up while it lives
    ray: str = ""  # host:port of its Ray, for `ray status --address`

    def __str__(self) -> str:
        return f"{self.user} on {self.host} (process {self.pid}) since {self.since}"


class TakenOverError(StudyError):
    """Another driver runs the study now; this one must not touch it any more."""


class DriverLock:
    """What the block of `hold_study` can ask."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path, self._holder = path, holder
        self._stopped = threading.Event()
        self._replaced: Holder | None = None
        self._thread = threading.Thread(target=self._beats, name="driver-beat", daemon=True)

    def check(self) -> None:
        """Raises TakenOverError when another driver has taken over, which only happens where locks do not work."""
        if self._replaced is not None:
            raise TakenOverError(
                f"{self._path.parent}: the study was taken over by {self._replaced}, because this process was not "
                "heard of for a while; it goes on there"
            )

    def tell_ray(self, address: str) -> None:
        """The name says from the next beat on where the driver's Ray is."""
        self._holder = self._holder.model_copy(update={"ray": address})

    def start(self) -> None:
        """Write the name and keep renewing the beat."""
        for left in self._path.parent.glob(f".{HOLDER}.*"):
            left.unlink(missing_ok=True)
        _write(self._path, self._holder)
        self._thread.start()

    def stop(self) -> None:
        """No more beats; the name goes, unless it is another's by now."""
        self._stopped.set()
        self._thread.join(timeout=BEAT_SECONDS)
        with suppress(OSError):
            known = read_holder(self._path.parent)
            if known is not None and known.token == self._holder.token:
                self._path.unlink(missing_ok=True)

    def _beats(self) -> None:
        beat = 0
        while not self._stopped.wait(BEAT_SECONDS):
            known = read_holder(self._path.parent)
            if known is not None and known.token != self._holder.token:
                self._replaced = known
                return
            beat += 1
            # a full disk: the lock itself still holds
            with suppress(OSError):
                _write(self._path, self._holder.model_copy(update={"beat": beat}))


@contextmanager
def hold_study(folder: Path, name: str) -> Iterator[DriverLock]:
    """Be the only driver of the study in `folder` for the duration of the block.

    Raises:
        StudyError: another process runs it; the text says who and where. StorageError: the folder cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        held = lock_within(stream, _PROBE_SECONDS)
        if held is False:
            raise _refusal(folder, name, read_holder(folder))
        _await_death(folder, name, locks_work=held is True)
        lock = DriverLock(folder / HOLDER, _myself())
        with disk_errors(folder):
            lock.start()
        try:
            yield lock
        finally:
            lock.stop()
    finally:
        os.close(stream)


def running_holder(folder: Path) -> Holder | None:
    """Who runs the study in `folder` at this moment, as far as this machine can tell; None when nobody does."""
    try:
        stream = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_holder(folder) or _somebody()
    except OSError:
        return None
    finally:
        os.close(stream)
    known = read_holder(folder)
    if known is None or known.machine == _machine():
        return None
    beat_age = time.time() - (folder / HOLDER).stat().st_mtime
    return known if beat_age < DEAD_SECONDS else None


def read_holder(folder: Path) -> Holder | None:
    """The name in the folder, whether it still runs or not."""
    try:
        return Holder.from_json((folder / HOLDER).read_text())
    except (OSError, ValueError, ConfigError):
        return None


def _await_death(folder: Path, name: str, locks_work: bool) -> None:
    """Nobody else of this machine has the lock, so a name of this machine is a dead one's. Another's may be alive."""
    first = read_holder(folder)
    if first is None or (locks_work and first.machine == _machine()):
        return
    deadline = time.monotonic() + DEAD_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.25)
        now = read_holder(folder)
        if now is None:
            return
        if (now.token, now.beat) != (first.token, first.beat):
            raise _refusal(folder, name, now)


def _refusal(folder: Path, name: str, holder: Holder | None) -> StudyError:
    who = f"by {holder}" if holder else "by another process"
    return StudyError(
        f"study '{name}' is being run {who}; wait for it (splatsweep status {name}), stop it with Ctrl-C there, or "
        "choose another --name"
    )


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _myself() -> Holder:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=user,
        since=since,
        machine=_machine(),
        token=secrets.token_hex(8),
    )


def _somebody() -> Holder:
    return Holder(host="this machine", pid=0, user="somebody", since="some time ago", machine="", token="")


def _write(path: Path, holder: Holder) -> None:
    staging = path.with_name(f".{path.name}.{holder.token}")
    staging.write_text(json.dumps(holder.model_dump(), sort_keys=True))
    staging.replace(path)
