"""All settings of a trial, beside its checkpoints: what the searched values and the space's base come to.

Only the process that runs the study has the recipe's config; whoever reads the folder later needs no recipe.
"""

from pathlib import Path

from search_spaces.space import SearchSpace
from ssl_core.errors import ConfigError
from study.record.full_disk import FullDiskRetry
from study.record.journal import disk_errors
from study.record.metrics_file import metrics_path
from study.record.trial_record import TrialRecord
from study.spec.outcome import EpochReport


class ConfigFile:
    """Witness that writes `trials/<number>/config.json` once, waiting for space on a full disk."""

    def __init__(self, folder: Path, space: SearchSpace, disk_retry: FullDiskRetry | None = None) -> None:
        self._folder, self._space, self._patience = folder, space, disk_retry or FullDiskRetry()

    def started(self, record: TrialRecord) -> None:
        """Write the settings that the trial begins with; a combination that the recipe refuses has none."""
        path = config_path(self._folder, record.number)
        if path.exists():
            return
        try:
            text = self._space.configure(record.values or {}).model_dump_json(indent=1)
        except ConfigError:
            return
        with disk_errors(self._folder):
            self._patience(lambda: write_once(path, text), path)

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """Settings stay."""

    def ended(self, record: TrialRecord) -> None:
        """The file stays."""


def config_path(folder: Path, number: int) -> Path:
    """Where a trial's settings lie."""
    return metrics_path(folder, number).with_name("config.json")


def write_once(path: Path, text: str) -> None:
    """A file that is there whole or not at all; one that is there stays."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
