"""Unfinished trials: what a trial manager finds when it continues a study, and what becomes of an attempt that died."""

import math
from dataclasses import dataclass
from pathlib import Path

from ssl_core.errors import StudyError
from study.engine.ledger import JOURNAL, Ledger
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec


@dataclass(frozen=True)
class RecoveredStudy:
    """The ledger, made consistent."""

    records: list[TrialRecord]  # all trials
    unfinished: list[TrialRecord]  # those to go on, oldest first
    # unfinished ones whose last epoch is in the ledger, while the witnesses, who hear of it next, do not have it: the
    # checkpoint tells it again
    callbacks_pending: set[int]
    # unfinished ones whose last epoch was witnessed. The driver may have died before the scheduler's verdict on it was
    # written, so the verdict is asked for once more.
    decision_pending: set[int]


def recover(ledger: Ledger, folder: Path) -> RecoveredStudy:
    """Finish what a death cut short in the ledger, and look at how far the unfinished trials were told.

    Raises:
        StudyError: another program wrote to the journal.
    """
    for record in ledger.records():
        if record.outcome is not None and not record.told:
            ledger.close(record.number, record.outcome, record.reason)
        elif record.outcome is None and record.told:
            raise StudyError(
                f"{folder / JOURNAL}: trial {record.number} was ended by another program; choose another --name"
            )
    records = ledger.records()
    unfinished = [record for record in records if record.outcome is None]
    begun = [record for record in unfinished if record.epoch > 0]
    heard = {record.number for record in begun if _callbacks_ran(record, folder)}
    return RecoveredStudy(records, unfinished, {record.number for record in begun} - heard, heard)


def _callbacks_ran(record: TrialRecord, folder: Path) -> bool:
    """The metrics file is written by the last callback that counts."""
    return any(record.epoch in curve for curve in read_metrics(folder, record.number).values())


MAX_LOSSES = 10
"""Machines a trial may lose before it is taken for what brings them down."""


@dataclass(frozen=True)
class Again:
    """It starts again from its checkpoint, with this share of resources."""

    share: float


@dataclass(frozen=True)
class GiveUp:
    """It has failed."""

    outcome: Outcome
    reason: str


def after_death(
    record: TrialRecord, spec: StudySpec, largest_share: float, reason: str, out_of_memory: bool
) -> Again | GiveUp:
    """What becomes of a trial whose attempt ended without a report; `record`: before this death.

    Out of memory it gets twice the share until `largest_share`, which does not count as a crash. Any other death is
    answered by the same again, `max_attempts` times in all.
    """
    if not out_of_memory:
        after = record.model_copy(update={"crashes": record.crashes + 1})
        return already_failed(after, spec, reason) or Again(record.share)
    share = min(2 * record.share, largest_share)
    if spec.on_oom == "retry" and share > record.share:
        return Again(share)
    had = f" with {record.share:g} times the usual share, the most there is" if record.share > 1 else ""
    return GiveUp(Outcome.INFEASIBLE, f"out of memory{had}: {reason}")


def already_failed(record: TrialRecord, spec: StudySpec, reason: str | None) -> GiveUp | None:
    """For an unfinished trial whose last allowed attempt has crashed; else None."""
    # attempts that ended for want of memory were answered by a larger share
    enlarged = math.ceil(math.log2(record.share)) if record.share > 1 else 0
    if record.crashes - enlarged < spec.max_attempts:
        return None
    times = record.crashes
    return GiveUp(Outcome.CRASHED, f"{reason or 'it crashed'} ({times} attempts; see crash-{times}.txt)")
