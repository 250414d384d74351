"""What a trial manager is given beside the ledger; what the study has used and reached; when nothing new begins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from study.engine.meter import Meter
from study.engine.trial_queue import TrialQueue
from study.record.trial_record import TrialRecord
from study.spec.budget import LimitReached, Usage
from study.spec.outcome import EpochReport, Outcome, better
from study.spec.study_spec import StudySpec
from study.spec.trial_request import CheckValues


class StudyCallback(Protocol):
    """Someone who is told what happened, after it was written down."""

    def started(self, record: TrialRecord) -> None: ...

    def reported(self, record: TrialRecord, report: EpochReport) -> None: ...

    def ended(self, record: TrialRecord) -> None: ...


@dataclass(frozen=True)
class RunContext:
    """What the search does not decide: where things lie, what there is room for, and how time is measured."""

    folder: Path  # of the study
    concurrency: int  # trials at a time
    check: CheckValues | None  # refuses configurations before they cost a worker
    meter: Meter  # of this invocation; it knows earlier ones too
    # what a trial may get at most when it ran out of memory, as a multiple of an ordinary one: a whole GPU, or all CPUs
    # of a machine
    largest_share: float = 1.0


class UsageCounters:
    """Counts over all trials but confirmations, which come when the search is over.

    A budget's question costs the same at any number of trials.
    """

    def __init__(self, direction: str, records: Sequence[TrialRecord]) -> None:
        self._direction = direction
        self._trials = self._epochs = self._since_best = 0
        self._best: float | None = None
        self._best_finished: float | None = None
        self.refused_in_a_row, self.last_refusal = 0, ""
        for record in records:
            self.asked(record)
            self._epochs += 0 if record.confirms else len(record.curve)
            self._reached(record, record.best_value)
        for record in sorted((r for r in records if r.outcome is not None and not r.confirms), key=_end):
            self._finished(record)  # `asked` has left out the refused ones already

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

    def usage(self, seconds: float, gpu_seconds: float) -> Usage:
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
    return record.ended.timestamp() if record.ended else 0.0, record.number


class Limits:
    """The budget, the patience with refused configurations and the end of the space, asked together.

    Nothing is remembered: a limit that was reached is open again when a trial that counted turns out infeasible, or
    brings a new best. So a study that was interrupted answers like one that was not.
    """

    def __init__(self, spec: StudySpec, counters: UsageCounters, meter: Meter, queue: TrialQueue) -> None:
        self._spec, self._counters, self._meter, self._queue = spec, counters, meter, queue
        self._budget = spec.limit

    def over(self) -> LimitReached | None:
        """Why nothing new is tried; None while the search goes on."""
        refused = self._counters.refused_in_a_row
        if refused >= self._spec.max_refused:
            last = self._counters.last_refusal
            return LimitReached(
                f"no feasible point: {refused} configurations in a row were refused, the last: {last}", False
            )
        return self._spent(confirming=False) or (None if self._queue.has_repeats else self._queue.exhausted)

    def cut(self, record: TrialRecord) -> LimitReached | None:
        """Why a running trial must end at its next report, whatever the scheduler thinks."""
        spent = self._spent(confirming=record.confirms)
        return spent if spent and spent.stops_running else None

    def confirming(self) -> bool:
        """Whether confirmations are left to run and may be, once nothing else runs."""
        if not self._spec.confirm_features:
            return False
        spent = self._spent(confirming=True)
        return not (spent and spent.stops_running) and self._queue.has_confirmations()

    def _spent(self, confirming: bool) -> LimitReached | None:
        usage = self._counters.usage(self._meter.seconds(), self._meter.gpu_seconds())
        # a target that is reached ends the search, not what confirms it
        return self._budget.spent(replace(usage, best=None) if confirming else usage)
