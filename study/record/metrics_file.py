"""All metrics of a trial, one JSON line per epoch, beside its checkpoints: curves without a tracking server."""

import json
from pathlib import Path

from study.outcome import EpochReport
from study.record.journal import disk_errors
from study.record.trial_record import TrialRecord
from study.workers.patience import Patience

Curves = dict[str, dict[int, float]]
"""metric -> epoch -> value"""


class MetricsFile:
    """Witness that appends every report to `trials/<number>/metrics.jsonl`, waiting for space on a full disk."""

    def __init__(self, folder: Path, patience: Patience | None = None) -> None:
        self._folder, self._patience = folder, patience or Patience()

    def started(self, record: TrialRecord) -> None:
        """Nothing to write yet."""

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """Append one line. Epochs told twice appear twice; the later one counts."""
        path = metrics_path(self._folder, record.number)
        line = json.dumps({"epoch": report.epoch, **report.metrics}) + "\n"
        with disk_errors(self._folder):
            self._patience(lambda: _append(path, line.encode()), path)

    def ended(self, record: TrialRecord) -> None:
        """The file stays."""


def _append(path: Path, line: bytes) -> None:
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


def read_metrics(folder: Path, number: int) -> Curves:
    """Curves of a trial; empty when it reported nothing. A half-written or damaged line is left out."""
    curves: Curves = {}
    try:
        lines = metrics_path(folder, number).read_bytes().split(b"\n")
    except OSError:
        return {}
    for line in lines:
        try:
            entry = {name: float(value) for name, value in json.loads(line).items()}
            epoch = int(entry.pop("epoch"))
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            continue  # torn by a death, or damaged
        for name, value in entry.items():
            curves.setdefault(name, {})[epoch] = value
    return {name: dict(sorted(curve.items())) for name, curve in sorted(curves.items())}
