"""All metrics of a trial, one JSON line per epoch, beside its checkpoints: curves without a tracking server.

{"epoch": 3, "at": 1790000000000, "val/probe": 0.5, ...}    `at`: milliseconds since 1970

Epoch 0 is what the untrained models scored. It is for people: `read_metrics` leaves it out, `read_untrained` gives it.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

from study.record.full_disk import FullDiskRetry
from study.record.journal import disk_errors
from study.record.trial_record import TrialRecord
from study.spec.outcome import EpochReport

Curves = dict[str, dict[int, float]]
"""metric -> epoch -> value"""


class MetricsFile:
    """Witness that appends every report to `trials/<number>/metrics.jsonl`, waiting for space on a full disk."""

    def __init__(self, folder: Path, disk_retry: FullDiskRetry | None = None) -> None:
        self._folder, self._patience = folder, disk_retry or FullDiskRetry()

    def started(self, record: TrialRecord) -> None:
        """Nothing to write yet."""

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """Append a line, the first time after that of the untrained models.

        Epochs told twice appear twice; the later one counts.
        """
        path = metrics_path(self._folder, record.number)
        told = [(0, report.untrained)] if report.untrained else []
        told, at = [*told, (report.epoch, report.metrics)], int(time.time() * 1000)
        line = "".join(json.dumps({**metrics, "epoch": epoch, "at": at}) + "\n" for epoch, metrics in told)
        with disk_errors(self._folder):
            self._patience(lambda: append_line(path, line.encode()), path)

    def ended(self, record: TrialRecord) -> None:
        """The file stays."""


def append_line(path: Path, line: bytes) -> None:
    """Write a line of its own, also after one that a full disk or a death cut short."""
    try:
        stream = path.open("a+b")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
    with stream:
        end = stream.seek(0, 2)
        if end:
            stream.seek(end - 1)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        stream.write(line)


def metrics_path(folder: Path, number: int) -> Path:
    """Where a trial's metrics lie."""
    return folder / "trials" / f"{number:04d}" / "metrics.jsonl"


class EpochMetrics(NamedTuple):
    """One line: all metrics of an epoch. `at`: milliseconds since 1970, None in files of before that was written."""

    epoch: int
    at: int | None
    metrics: dict[str, float]


def read_lines(folder: Path, number: int, start: int = 0) -> tuple[list[EpochMetrics], int]:
    """What was appended to a trial's file from byte `start` on, and where its last whole line ends.

    A half-written or damaged line is left out, and so is a file that is not there.
    """
    try:
        with metrics_path(folder, number).open("rb") as stream:
            stream.seek(start)
            content = stream.read()
    except OSError:
        return [], start
    found = (_parsed(line) for line in content.split(b"\n"))
    return [line for line in found if line is not None], start + content.rfind(b"\n") + 1


def read_metrics(folder: Path, number: int) -> Curves:
    """Curves of a trial from its first epoch on; empty when it reported nothing."""
    curves: Curves = {}
    trained = (line for line in read_lines(folder, number)[0] if line.epoch > 0)
    for epoch, _, metrics in trained:
        for name, value in metrics.items():
            curves.setdefault(name, {})[epoch] = value
    return {name: dict(sorted(curve.items())) for name, curve in sorted(curves.items())}


def read_untrained(folder: Path, number: int) -> dict[str, float]:
    """What a trial's models scored before their first epoch; empty where that was not measured."""
    try:
        with metrics_path(folder, number).open("rb") as stream:
            first = _parsed(stream.readline())
    except OSError:
        return {}
    return first.metrics if first is not None and first.epoch == 0 else {}


def _parsed(line: bytes) -> EpochMetrics | None:
    try:
        entry = {name: float(value) for name, value in json.loads(line).items()}
        epoch, at = int(entry.pop("epoch")), entry.pop("at", None)
        return EpochMetrics(epoch, None if at is None else int(at), entry)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None  # torn by a death, or damaged
