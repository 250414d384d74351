"""What stays of trials: metrics of their best epoch, and which checkpoints.

Checkpoints of the best `top_k` configurations stay, and of all that may still come among them. A configuration counts
by the mean over its trials, so one whose repeats are not all in may rise or fall: its best trial's checkpoint stays
until they are. From then on its value is fixed, and so is who is better: who leaves the best never returns, and each
checkpoint is deleted once. `trial_record.leaders` is the slow twin: it ranks all records.
"""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from ssl_core.errors import StudyError
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord, configuration_of
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import OF_TRIALS, StudySpec

COST = "cost/"
"""Prefix of metrics that are kept whether the study names them or not."""


class BestMetrics:
    """Metrics of each running trial's best epoch.

    Args:
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


@dataclass
class _Configuration:
    """Trials of one configuration that have ended."""

    ended: int = 0
    values: list[float] = field(default_factory=list)
    complete: bool = False
    best: tuple[float, int] | None = None  # (loss, number)
    settled: bool = False


class CheckpointRetention:
    """Ended trials by configuration.

    Args:
        top_k: configurations whose best trial keeps its checkpoint.
        repeats: trials of a configuration that completes.
    """

    def __init__(self, direction: str, top_k: int, repeats: int) -> None:
        self._direction, self._top_k, self._repeats = direction, top_k, repeats
        self._configurations: dict[int, _Configuration] = {}
        self._best: list[tuple[int, float, int]] = []  # (place by outcome, loss, configuration), best first

    def ended(self, record: TrialRecord) -> list[int]:
        """Take an ended trial; returns the numbers of those, it included, that lose their checkpoints now."""
        if record.confirms:
            return [record.number]
        configuration = configuration_of(record)
        group = self._configurations.setdefault(configuration, _Configuration())
        dropped = self._enter(group, record)
        if not group.settled and group.ended >= (self._repeats if group.complete else 1):
            group.settled = True
            dropped += self._settle(configuration, group)
        return dropped

    def _enter(self, group: _Configuration, record: TrialRecord) -> list[int]:
        """Count it in; of two trials of a configuration the worse is dropped."""
        group.ended += 1
        if record.outcome is None or not record.outcome.has_value or record.best_value is None:
            return [record.number]
        group.complete = group.complete or record.outcome is Outcome.COMPLETE
        group.values.append(record.best_value)
        loss = -record.best_value if self._direction == "maximize" else record.best_value
        if group.best is not None and (loss, record.number) > group.best:
            return [record.number]
        dropped = [] if group.best is None else [group.best[1]]
        group.best = (loss, record.number)
        return dropped

    def _settle(self, configuration: int, group: _Configuration) -> list[int]:
        """Its value is final: it comes among the best for someone else, or loses its checkpoint."""
        if group.best is None:
            return []
        mean = fmean(group.values)
        loss = -mean if self._direction == "maximize" else mean
        insort(self._best, (0 if group.complete else 1, loss, configuration))
        if len(self._best) <= self._top_k:
            return []
        loser = self._configurations[self._best.pop()[2]].best
        return [] if loser is None else [loser[1]]
