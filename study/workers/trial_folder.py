"""A trial's folder on the study's storage: checkpoints that are whole or absent, and what went wrong.

trials/0007/last/          newest checkpoint, with report.json of its epoch inside
trials/0007/best/          checkpoint of the best objective so far
trials/0007/crash-1.txt    reason (first line) and traceback of the first attempt
trials/0007/attempt        which attempt may write checkpoints: number of the driver's invocation, of the attempt

A driver that is killed, or a node that is cut off, may leave a worker behind in the middle of an epoch, which would
save its checkpoint over the one of the attempt that took its place. So each attempt writes its number down when it
begins, and may save only while that stands. Both happen under a lock of the file; where locks do not work, a moment
between looking and saving is left open.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ssl_core.errors import CheckpointError, ConfigError
from ssl_core.files.whole import mend, put_in_place
from ssl_core.training.contract import Session
from study.spec.outcome import EpochReport

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
            lock_within(stream, _PATIENCE)
            yield stream
        finally:
            os.close(stream)


def lock_within(stream: int, seconds: float) -> bool | None:
    """Lock an open file: True when it is ours, False when another's still, None on a file system without locks."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        except OSError:
            return None


def _read(stream: int) -> Attempt | None:
    try:
        invocation, number = os.pread(stream, 64, 0).split()
        return Attempt(int(invocation), int(number))
    except ValueError:
        return None


REPORT = "report.json"


class TrialFolder:
    """Reads and writes one trial's folder. Only the worker that runs the trial writes checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last"
        self.best = path / "best"

    def claim(self, token: FencingToken) -> None:
        """Begin an attempt: what older ones left half-written goes, and they may not save any more.

        Raises:
            StaleAttemptError: a newer attempt has begun.
        """
        token.claim()
        self._sweep()

    def save(self, session: Session, report: EpochReport, token: FencingToken) -> None:
        """Replace `last`, and `best` too when this epoch is the best. A crash leaves the old or the new.

        Raises:
            StaleAttemptError: a newer attempt has begun; nothing is replaced.
        """
        staging = self.path / f".saving-{token.name}"
        shutil.rmtree(staging, ignore_errors=True)
        session.save(staging)
        (staging / REPORT).write_text(report.to_json())
        twin: Path | None = None
        if report.best_epoch == report.epoch:
            twin = self.path / f".saving-{token.name}-best"
            shutil.rmtree(twin, ignore_errors=True)
            shutil.copytree(staging, twin, copy_function=_link)
        with token.open():
            if twin is not None:
                put_in_place(twin, self.best)
            # `last` moves last: with it in place the epoch counts as done, and its `best` is there already
            put_in_place(staging, self.last)

    def _sweep(self) -> None:
        for left in (*self.path.glob(".saving-*"), *self.path.glob("..saving-*")):
            shutil.rmtree(left, ignore_errors=True)

    def report(self) -> EpochReport | None:
        """The report saved with `last`, None without a whole checkpoint."""
        mend(self.last)
        mend(self.best)
        try:
            return EpochReport.from_json((self.last / REPORT).read_text())
        except (OSError, ValueError, ConfigError):
            return None

    def stage(self, donor: "TrialFolder", turn: int, report: EpochReport) -> bool:
        """Copy a running trial's `last`, to be taken over by `adopt` under the same turn, with this report in it.

        The donor may write its next checkpoint meanwhile: a copy counts only if it is of one checkpoint. False when
        there was none to be had. Without `adopt` nothing has changed.
        """
        staging = self.path / ".staging"
        for _ in range(5):
            shutil.rmtree(staging, ignore_errors=True)
            try:
                before = ((donor.last / REPORT).read_text(), donor.last.stat().st_ino)
                shutil.copytree(donor.last, staging, copy_function=_link, ignore=shutil.ignore_patterns(REPORT))
                if before != ((donor.last / REPORT).read_text(), donor.last.stat().st_ino):
                    continue
                taken = EpochReport.from_json(before[0])
            except (OSError, shutil.Error, ValueError, ConfigError):
                continue
            if taken.end is not None:
                break  # it is done, and there would be nothing to train
            (staging / REPORT).write_text(report.model_copy(update={"epoch": taken.epoch}).to_json())
            put_in_place(staging, self.path / f".adopted-{turn}")
            return True
        shutil.rmtree(staging, ignore_errors=True)
        return False

    def adopt(self, turn: int) -> None:
        """Make what was staged for this turn `last`. Done already, or never staged: nothing happens."""
        staged = self.path / f".adopted-{turn}"
        mend(self.last)
        if staged.is_dir():
            put_in_place(staged, self.last)

    def restore(self, session: Session, transfer: bool = False) -> EpochReport | None:
        """Load `last` into the session. One that does not fit is put aside and the trial starts anew."""
        report = self.report()
        if report is None:
            return None
        try:
            session.load(self.last, transfer)
        except CheckpointError as error:
            aside = self.path / "unusable"
            shutil.rmtree(aside, ignore_errors=True)
            self.last.rename(aside)
            (self.path / "unusable.txt").write_text(f"{error}\n")
            return None
        return report

    def write_crash(self, attempt: int, reason: str, details: str) -> None:
        """Keep why an attempt failed. A disk that takes no more text must not hide the first error."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / f"crash-{attempt}.txt").write_text(f"{reason}\n\n{details}")
        except OSError:
            return

    def crash_reason(self, attempt: int) -> str | None:
        """First line of what `write_crash` kept."""
        try:
            lines = (self.path / f"crash-{attempt}.txt").read_text().splitlines()
        except OSError:
            return None
        return lines[0] if lines else None

    def prune(self, keep_best: bool) -> None:
        """Drop the checkpoints of a trial that ended; `best` stays when asked."""
        self._sweep()
        for name in ("last", ".last.old", ".staging", "unusable"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for staged in self.path.glob(".adopted-*"):
            shutil.rmtree(staged, ignore_errors=True)
        if not keep_best:
            for name in ("best", ".best.old"):
                shutil.rmtree(self.path / name, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """A second name for the same bytes (checkpoints are never changed in place), or a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
