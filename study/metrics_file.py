"""All metrics of a trial, one JSON line per epoch, beside its checkpoints: curves without a tracking server."""

import json
from pathlib import Path

from study.outcome import EpochReport
from study.trial_record import TrialRecord

Curves = dict[str, dict[int, float]]
"""metric -> epoch -> value"""


class MetricsFile:
    """Witness that appends every report to `trials/<number>/metrics.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def started(self, record: TrialRecord) -> None:
        """Nothing to write yet."""

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """Append one line. Epochs told twice appear twice; the later one counts."""
        path = metrics_path(self._folder, record.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(json.dumps({"epoch": report.epoch, **report.metrics}) + "\n")

    def ended(self, record: TrialRecord) -> None:
        """The file stays."""


def metrics_path(folder: Path, number: int) -> Path:
    """Where a trial's metrics lie."""
    return folder / "trials" / f"{number:04d}" / "metrics.jsonl"


def read_metrics(folder: Path, number: int) -> Curves:
    """Curves of a trial; empty when it reported nothing. A half-written last line is left out."""
    curves: Curves = {}
    try:
        lines = metrics_path(folder, number).read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        epoch = int(entry.pop("epoch"))
        for name, value in entry.items():
            curves.setdefault(name, {})[epoch] = float(value)
    return {name: dict(sorted(curve.items())) for name, curve in sorted(curves.items())}
