"""Which checkpoints stay: those of the best `top_k` configurations, and of all that may still come among them.

A configuration counts by the mean over its trials, so one whose repeats are not all in may rise or fall: its best
trial's checkpoint stays until they are. From then on its value is fixed, and so is who is better: who leaves the best
never returns, and each checkpoint is deleted once. `trial_record.leaders` is the slow twin: it ranks all records.
"""

from bisect import insort
from dataclasses import dataclass, field
from statistics import fmean

from study.record.trial_record import TrialRecord, configuration_of
from study.spec.outcome import Outcome


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
        direction: of the objective.
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
        _, _, last = self._best.pop()
        loser = self._configurations[last].best
        return [] if loser is None else [loser[1]]
