"""Where a study compares its trials, who passed there, and what the bar is."""

from collections.abc import Sequence
from typing import assert_never

from ssl_core.config import Config
from study.record.trial_record import TrialRecord
from study.spec.scheduler_spec import ASHA, PBT, MedianRule, NoScheduler, SchedulerSpec

MOST = 12


class RungSummary(Config):
    """One place of comparison.

    Attributes:
        epoch: of the comparison.
        reached: trials that reported it.
        passed: of those, how many trained on or ended there by themselves.
        stopped: how many the scheduler ended there.
        redirected: how many went on from another trial's checkpoint.
        bar: what the last trial judged there was judged against; None before the first verdict.
    """

    epoch: int
    reached: int = 0
    passed: int = 0
    stopped: int = 0
    redirected: int = 0
    bar: float | None = None


def rung_epochs(scheduler: SchedulerSpec, epochs: int) -> tuple[int, ...]:
    """Epochs at which trials of this length are compared, the last epoch left out."""
    match scheduler:
        case ASHA():
            found, level = [], scheduler.grace
            while level < epochs:
                found.append(level)
                level *= scheduler.reduction
            return tuple(found)
        case MedianRule():
            return tuple(range(scheduler.grace, epochs, scheduler.every))
        case PBT():
            return tuple(range(scheduler.every, epochs, scheduler.every))
        case NoScheduler():
            return ()
        case _:
            assert_never(scheduler)


def rungs(records: Sequence[TrialRecord], scheduler: SchedulerSpec) -> tuple[RungSummary, ...]:
    """All rungs that some trial has reached, lowest first."""
    taking_part = [r for r in records if not r.confirms]
    made = []
    for epoch in rung_epochs(scheduler, max((r.epochs for r in taking_part), default=0)):
        here = [r for r in taking_part if r.epoch >= epoch]
        verdicts = [(r, v) for r in here for v in r.verdicts if v.rung == epoch]
        stopped = sum(v.action == "stop" for _, v in verdicts)
        last = max(verdicts, key=lambda item: item[0].number, default=None)
        if here:
            made.append(
                RungSummary(
                    epoch=epoch,
                    reached=len(here),
                    passed=len(here) - stopped,
                    stopped=stopped,
                    redirected=len(verdicts) - stopped,
                    bar=last[1].bar if last else None,
                )
            )
    return tuple(made)


def audit_epochs(scheduler: SchedulerSpec, epochs: int) -> tuple[int, ...]:
    """Epochs worth comparing with the final value: the rungs, or without any an eighth, a quarter and a half."""
    found = rung_epochs(scheduler, epochs) or tuple(sorted({max(1, epochs // part) for part in (8, 4, 2)}))
    step = -(-len(found) // MOST)
    return tuple(epoch for epoch in found[::step] if epoch < epochs)
