"""A trial's folder on the study's storage: checkpoints that are whole or absent, and what went wrong.

trials/0007/last/          newest checkpoint, with report.json of its epoch inside
trials/0007/best/          checkpoint of the best objective so far
trials/0007/crash-1.txt    reason (first line) and traceback of the first attempt
trials/0007/attempt        which attempt may write checkpoints (`study.workers.fencing`)
"""

import os
import shutil
from pathlib import Path

from ssl_core.errors import CheckpointError, ConfigError
from ssl_core.files.whole import mend, put_in_place
from ssl_core.training.contract import Session
from study.spec.outcome import EpochReport
from study.workers.fencing import FencingToken

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
