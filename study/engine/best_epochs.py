"""What a trial was worth in every respect that its study asks for: taken at its best epoch."""

from collections.abc import Mapping
from pathlib import Path

from ssl_core.errors import StudyError
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord
from study.spec.outcome import EpochReport
from study.spec.study_spec import OF_TRIALS, StudySpec

COST = "cost/"
"""Prefix of metrics that are kept whether the study names them or not."""


class BestMetrics:
    """Metrics of each running trial's best epoch.

    Args:
        spec: names what is wanted.
        folder: of the study: what was reported before a restart is read from there.
    """

    def __init__(self, spec: StudySpec, folder: Path) -> None:
        self._folder = folder
        self._sections = {
            "study.objectives": [objective.metric for objective in spec.objectives],
            "study.constraints": [constraint.metric for constraint in spec.constraints],
        }
        self._named = {name for names in self._sections.values() for name in names} - set(OF_TRIALS)
        self._kept: dict[int, tuple[int, dict[str, float]]] = {}

    def check(self, metrics: Mapping[str, float]) -> None:
        """Raises StudyError when a report lacks a metric that the study names; what is missing once never comes."""
        if self._named <= metrics.keys():
            return
        for section, names in self._sections.items():
            for name in names:
                if name in self._named and name not in metrics:
                    raise StudyError(
                        f"the trial reports no metric '{name}', which {section} names; it has "
                        f"{', '.join([*sorted(metrics), *OF_TRIALS])}; name one of them"
                    )

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """Keep the metrics if this epoch is the best so far."""
        if record.best_epoch == report.epoch:
            self._kept[record.number] = (report.epoch, self._of_interest(report.metrics))

    def vector(self, record: TrialRecord) -> dict[str, float]:
        """Of a trial that ends now; it is forgotten here."""
        epoch, metrics = self._kept.pop(record.number, (None, {}))
        if record.best_epoch is None:
            metrics = {}
        elif epoch != record.best_epoch:
            curves = read_metrics(self._folder, record.number)
            told = {name: curve[record.best_epoch] for name, curve in curves.items() if record.best_epoch in curve}
            metrics = self._of_interest(told)
        return {**metrics, "trial/seconds": record.seconds, "trial/epochs": float(record.epoch)}

    def _of_interest(self, metrics: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if name in self._named or name.startswith(COST)}
