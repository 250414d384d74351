"""When a study starts nothing new, and when what runs must end too."""

from dataclasses import replace

from study.engine.meter import Meter
from study.engine.trial_queue import TrialQueue
from study.engine.usage_counters import UsageCounters
from study.record.trial_record import TrialRecord
from study.spec.budget import LimitReached
from study.spec.study_spec import StudySpec


class Limits:
    """The budget, the limit of refused configurations in a row and the end of the space, asked together.

    Nothing is remembered: a limit that was reached is open again when a trial that counted turns out infeasible, or
    brings a new best. So a study that was interrupted answers like one that was not.

    Args:
        spec: of the study.
        counters, meter, queue: what there is to ask.
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
        spending = self._counters.spending(self._meter.seconds(), self._meter.gpu_seconds())
        # a target that is reached ends the search, not what confirms it
        return self._budget.spent(replace(spending, best=None) if confirming else spending)
