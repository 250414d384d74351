"""Keeps workers of the past out of a trial's folder.

    trials/0007/attempt    the newest attempt that began: number of the driver's invocation, number of the attempt

A driver that is killed, or a node that is cut off, may leave a worker behind in the middle of an epoch. When that is
done it would save its checkpoint over the one of the attempt that took its place. So each attempt writes its number
down when it begins, and may save only while that stands. Both happen under a lock of the file; where locks do not
work, a moment between looking and saving is left open.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ATTEMPT = "attempt"
_PATIENCE = 10.0
"""Seconds to wait for the lock: a worker that was stopped while it held it must not stop its successor."""


class Attempt(NamedTuple):
    """Later ones compare as larger: `invocation` of the driver, then the `number` of the attempt within the trial."""

    invocation: int = 0
    number: int = 1


class StaleAttemptError(Exception):
    """A newer attempt of the same trial began: this one must not write any more."""


class FencingToken:
    """One attempt's right to write into a trial's folder."""

    def __init__(self, folder: Path, attempt: Attempt) -> None:
        self._path, self._attempt = folder / ATTEMPT, attempt

    @property
    def name(self) -> str:
        """Tells this attempt's unfinished files from those of others."""
        return f"{self._attempt.invocation}-{self._attempt.number}"

    def claim(self) -> None:
        """Begin the attempt: older ones may not write from now on. Raises StaleAttemptError for an old one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked() as stream:
            newest = _read(stream)
            if newest is not None and newest > self._attempt:
                raise StaleAttemptError(self._words(newest))
            if newest != self._attempt:
                # in place and of one length: it can be written on a full disk, and no reader sees a half
                os.pwrite(stream, f"{self._attempt.invocation:012d} {self._attempt.number:08d}\n".encode(), 0)

    @contextmanager
    def open(self) -> Iterator[None]:
        """For the duration of the block nobody else begins. Raises StaleAttemptError when somebody did."""
        with self._locked() as stream:
            newest = _read(stream)
            if newest != self._attempt:
                raise StaleAttemptError(self._words(newest))
            yield

    def stale(self) -> bool:
        """Whether a newer attempt began."""
        try:
            with self.open():
                return False
        except StaleAttemptError:
            return True
        except OSError:
            return False

    def _words(self, newest: Attempt | None) -> str:
        return f"{self._path.parent}: attempt {newest} took over from {self._attempt}"

    @contextmanager
    def _locked(self) -> Iterator[int]:
        stream = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(stream)
            yield stream
        finally:
            os.close(stream)


def _lock(stream: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return
            time.sleep(0.02)
        except OSError:
            return  # no locks here


def _read(stream: int) -> Attempt | None:
    try:
        invocation, number = os.pread(stream, 64, 0).split()
        return Attempt(int(invocation), int(number))
    except ValueError:
        return None
