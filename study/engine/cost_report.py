"""What a study or a trial cost, in slot-seconds: a slot is the CPUs and GPUs that one trial holds at a time."""

from pathlib import Path

from ssl_core.config import Config
from study.engine.ledger import Ledger
from study.engine.meter import Meter, MeterFile, TrialTime
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome


class CostReport(Config):
    """Slot-seconds by what became of them; together they are all that was held."""

    useful: float = 0.0  # training of trials that ran all their epochs, or still may
    stopped: float = 0.0  # training of trials that the scheduler ended
    failed: float = 0.0  # training of all other trials, and attempts that were lost before they reported
    overhead: float = 0.0  # start-up, opening data, checkpoints, waiting, and slots without a trial
    gpus: float = 0.0  # that belong to one slot

    @property
    def held(self) -> float:
        """All slot-seconds."""
        return self.useful + self.stopped + self.failed + self.overhead

    @property
    def gpu_hours(self) -> float:
        """All GPU-hours."""
        return self.held * self.gpus / 3600

    def __add__(self, other: "CostReport") -> "CostReport":
        """Of two together, of slots of the same size."""
        return CostReport(
            useful=self.useful + other.useful,
            stopped=self.stopped + other.stopped,
            failed=self.failed + other.failed,
            overhead=self.overhead + other.overhead,
            gpus=max(self.gpus, other.gpus),
        )


def study_receipt(ledger: Ledger) -> CostReport:
    """What the study held so far, over all invocations. One kept in memory has its receipt when it is left.

    The epochs under way are not lost yet: they count as training.
    """
    totals, times = MeterFile(ledger.folder).read()
    if not totals.seconds:
        kept = ledger.attrs.get("receipt")
        return CostReport.model_validate(kept) if kept else CostReport()
    for number, seconds in totals.under_way.items():
        time = times[number]
        found = min(seconds, time.lost)
        times[number] = TrialTime(held=time.held, training=time.training + found, lost=time.lost - found)
    outcomes = {record.number: record.outcome for record in ledger.records()}
    return receipt_of(times, outcomes, totals.idle, totals.gpus)


def trial_receipt(record: TrialRecord, folder: Path) -> CostReport:
    """What one trial of the study in `folder` held so far, over all its attempts."""
    totals, times = MeterFile(folder).read()
    return _of_trial(times.get(record.number, TrialTime()), record.outcome, totals.gpus)


def settle(meter: Meter, ledger: Ledger) -> CostReport:
    """Close the meter at the end of an invocation and write the study's receipt into the ledger."""
    meter.close()
    outcomes = {record.number: record.outcome for record in ledger.records()}
    totals = meter.totals()
    receipt = receipt_of(meter.times(), outcomes, totals.idle, totals.gpus)
    ledger.set_attr("receipt", receipt.model_dump(mode="json"))
    return receipt


def receipt_of(
    times: dict[int, TrialTime], outcomes: dict[int, Outcome | None], idle: float, gpus: float = 0.0
) -> CostReport:
    """The receipt of measured times: `idle` slot-seconds belonged to no trial."""
    useful = stopped = failed = 0.0
    overhead = idle
    for number, time in times.items():
        one = _of_trial(time, outcomes.get(number), gpus)
        useful, stopped = useful + one.useful, stopped + one.stopped
        failed, overhead = failed + one.failed, overhead + one.overhead
    return CostReport(useful=useful, stopped=stopped, failed=failed, overhead=overhead, gpus=gpus)


def _of_trial(time: TrialTime, outcome: Outcome | None, gpus: float) -> CostReport:
    match outcome:
        case Outcome.COMPLETE | None:
            useful, stopped, failed = time.training, 0.0, 0.0
        case Outcome.STOPPED:
            useful, stopped, failed = 0.0, time.training, 0.0
        case Outcome.INFEASIBLE | Outcome.DIVERGED | Outcome.CRASHED:
            useful, stopped, failed = 0.0, 0.0, time.training
    return CostReport(useful=useful, stopped=stopped, failed=failed + time.lost, overhead=time.overhead, gpus=gpus)
