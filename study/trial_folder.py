"""A trial's folder on the study's storage: checkpoints that are whole or absent, and what went wrong.

trials/0007/last/          newest checkpoint, with report.json of its epoch inside
trials/0007/best/          checkpoint of the best objective so far
trials/0007/crash-1.txt    reason (first line) and traceback of the first attempt
trials/0007/curves.png     drawn when the trial ends
"""

import os
import shutil
from pathlib import Path

from ssl_core.errors import CheckpointError, ConfigError
from study.outcome import EpochReport
from study.session import Session

REPORT = "report.json"


class TrialFolder:
    """Reads and writes one trial's folder. Only the worker that runs the trial writes checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last"
        self.best = path / "best"

    def save(self, session: Session, report: EpochReport) -> None:
        """Replace `last`, and `best` too when this epoch is the best. A crash leaves the old or the new."""
        self.path.mkdir(parents=True, exist_ok=True)
        staging = self.path / ".saving"
        shutil.rmtree(staging, ignore_errors=True)
        session.save(staging)
        (staging / REPORT).write_text(report.to_json())
        if report.best_epoch == report.epoch:
            twin = self.path / ".saving-best"
            shutil.rmtree(twin, ignore_errors=True)
            shutil.copytree(staging, twin, copy_function=_link)
            _swap(twin, self.best)
        # `last` moves last: with it in place the epoch counts as done, and its `best` is there already
        _swap(staging, self.last)

    def report(self) -> EpochReport | None:
        """The report saved with `last`, None without a whole checkpoint."""
        _finish_swap(self.last)
        _finish_swap(self.best)
        try:
            return EpochReport.from_json((self.last / REPORT).read_text())
        except (OSError, ValueError, ConfigError):
            return None

    def restore(self, session: Session) -> EpochReport | None:
        """Load `last` into the session. One that does not fit is put aside and the trial starts anew."""
        report = self.report()
        if report is None:
            return None
        try:
            session.load(self.last)
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
        for name in ("last", ".last.old", ".saving", ".saving-best", "unusable"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        if not keep_best:
            for name in ("best", ".best.old"):
                shutil.rmtree(self.path / name, ignore_errors=True)


def _swap(new: Path, place: Path) -> None:
    """Move a folder into place. That takes two steps; `_finish_swap` mends a death in between."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _finish_swap(place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    if old.exists() and not place.exists():
        old.rename(place)


def _link(source: str, target: str) -> None:
    """A second name for the same bytes (checkpoints are never changed in place), or a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
