"""What the trial manager is given beside the ledger, and whom it calls back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from study.engine.meter import Meter
from study.record.trial_record import TrialRecord
from study.spec.clock import Clock
from study.spec.outcome import EpochReport
from study.spec.trial_request import CheckValues


class StudyCallback(Protocol):
    """Called with what happened, after it was written down."""

    def started(self, record: TrialRecord) -> None: ...

    def reported(self, record: TrialRecord, report: EpochReport) -> None: ...

    def ended(self, record: TrialRecord) -> None: ...


@dataclass(frozen=True)
class RunContext:
    """What the search does not decide: where things lie, what there is room for, and how time is measured.

    Attributes:
        folder: of the study.
        concurrency: trials at a time.
        check: refuses configurations before they cost a worker.
        clock, meter: of this invocation; the meter knows earlier ones too.
        largest_share: what a trial may get at most when it ran out of memory, as a multiple of an ordinary one:
            a whole GPU, or all CPUs of a machine.
    """

    folder: Path
    concurrency: int
    check: CheckValues | None
    clock: Clock
    meter: Meter
    largest_share: float = 1.0
