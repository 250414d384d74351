"""What the trial manager finds when it continues a study: trials finished, unfinished and not yet called back."""

from dataclasses import dataclass
from pathlib import Path

from ssl_core.errors import StudyError
from study.engine.ledger import JOURNAL, Ledger
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord


@dataclass(frozen=True)
class RecoveredStudy:
    """The ledger, made consistent.

    Attributes:
        records: all trials.
        unfinished: those to go on, oldest first.
        callbacks_pending: unfinished ones whose last epoch is in the ledger, while the callbacks, which follow, do not
            have it: it is reported again from the checkpoint.
        decision_pending: unfinished ones whose last epoch the callbacks had. The driver may have died before the rule's
            verdict on it was written, so the verdict is asked for once more.
    """

    records: list[TrialRecord]
    unfinished: list[TrialRecord]
    callbacks_pending: set[int]
    decision_pending: set[int]


def recover(ledger: Ledger, folder: Path) -> RecoveredStudy:
    """Finish what a death cut short in the ledger, and look at how far the callbacks of unfinished trials came.

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
