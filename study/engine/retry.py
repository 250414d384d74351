"""What becomes of a trial whose attempt ended without a report."""

import math
from dataclasses import dataclass

from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec

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
    """Decide on a trial whose attempt died.

    Out of memory it gets twice the share until there is no more to give, which does not count as a crash. Any other
    death is answered by the same again, `max_attempts` times in all.

    Args:
        record: before this death.
        spec: of the study.
        largest_share: see `RunContext`.
        reason: of the death, on one line.
        out_of_memory: it asked for more memory than there was.
    """
    attempts = record.crashes + 1
    if out_of_memory:
        share = min(2 * record.share, largest_share)
        if spec.on_oom == "retry" and share > record.share:
            return Again(share)
        had = f" with {record.share:g} times the usual share, the most there is" if record.share > 1 else ""
        return GiveUp(Outcome.INFEASIBLE, f"out of memory{had}: {reason}")
    if attempts - _enlarged(record) < spec.max_attempts:
        return Again(record.share)
    return _crashed(attempts, reason)


def already_failed(record: TrialRecord, spec: StudySpec, reason: str | None) -> GiveUp | None:
    """For an unfinished trial whose last allowed attempt had crashed when the driver died; else None."""
    if record.crashes - _enlarged(record) < spec.max_attempts:
        return None
    return _crashed(record.crashes, reason or "it crashed")


def _crashed(attempts: int, reason: str) -> GiveUp:
    return GiveUp(Outcome.CRASHED, f"{reason} ({attempts} attempts; see crash-{attempts}.txt)")


def _enlarged(record: TrialRecord) -> int:
    """Attempts that ended for want of memory and were answered by a larger share."""
    return math.ceil(math.log2(record.share)) if record.share > 1 else 0
