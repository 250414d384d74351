"""What a study has used and reached, counted as it happens: a budget's question costs the same at any size."""

from collections.abc import Iterable
from datetime import datetime

from study.record.trial_record import TrialRecord
from study.spec.budget import Usage
from study.spec.outcome import Outcome, better


class UsageCounters:
    """Counts over all trials but confirmations, which come when the search is over.

    Args:
        direction: of the objective.
        records: trials so far.
    """

    def __init__(self, direction: str, records: Iterable[TrialRecord] = ()) -> None:
        self._direction = direction
        self._trials = self._epochs = self._since_best = 0
        self._best: float | None = None
        self._best_finished: float | None = None
        self.refused_in_a_row = 0
        self.last_refusal = ""
        known = list(records)
        for record in known:
            self.asked(record)
            self._epochs += 0 if record.confirms else len(record.curve)
            self._reached(record, record.best_value)
        for record in sorted((r for r in known if r.outcome is not None), key=_end):
            # `asked` has left out the refused ones already
            self._finished(record)

    def asked(self, record: TrialRecord) -> None:
        """A trial has come into being."""
        self._trials += record.spends_budget

    def reported(self, before: TrialRecord, epoch: int, value: float) -> None:
        """A trial, `before` it reported this objective."""
        if not before.confirms:
            self._epochs += epoch not in before.curve
            self._reached(before, value)

    def ended(self, record: TrialRecord) -> None:
        """A trial has its outcome."""
        if not record.confirms:
            self._trials -= not record.spends_budget
            self._finished(record)

    def spending(self, seconds: float, gpu_seconds: float) -> Usage:
        """For a budget; times come from the meter."""
        return Usage(
            trials=self._trials,
            seconds=seconds,
            gpu_seconds=gpu_seconds,
            epochs=self._epochs,
            since_best=self._since_best,
            best=self._best,
            maximize=self._direction == "maximize",
        )

    def _reached(self, record: TrialRecord, value: float | None) -> None:
        if value is not None and not record.confirms and better(value, self._best, self._direction):
            self._best = value

    def _finished(self, record: TrialRecord) -> None:
        if record.confirms:
            return
        if record.outcome is Outcome.INFEASIBLE:
            self.refused_in_a_row += 1
            self.last_refusal = record.reason
            return
        self.refused_in_a_row = 0
        value = record.best_value if record.outcome and record.outcome.has_value else None
        if value is not None and better(value, self._best_finished, self._direction):
            self._best_finished, self._since_best = value, 0
        else:
            self._since_best += 1


def _end(record: TrialRecord) -> tuple[float, int]:
    """In the order they ended, as far as the clocks of several invocations agree."""
    return (record.ended or datetime.min).timestamp() if record.ended else 0.0, record.number
