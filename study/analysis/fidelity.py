"""Fidelity audit: did the value at a rung say which trials would be best in the end?

Only trials that ran to their end can tell, and where a scheduler stopped the others these are the ones it favoured:
their values lie closer together than those of all trials would, so correlations come out lower than they are (range
restriction), and what the stopped trials would have reached is not known at all.
"""

from collections.abc import Sequence
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ssl_core.config import Config
from study.analysis.common_fidelity import best_until, searched
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.scheduler_spec import ASHA, PBT, MedianRule, NoScheduler, SchedulerSpec

MOST = 12


class RungSummary(Config):
    """One place of comparison."""

    epoch: int  # of the comparison
    reached: int = 0  # trials that reported it
    passed: int = 0  # of those, how many trained on or ended there by themselves
    stopped: int = 0  # how many the scheduler ended there
    redirected: int = 0  # how many went on from another trial's checkpoint
    bar: float | None = None  # what the last trial judged there was judged against; None before the first verdict


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


Array = NDArray[np.float64]
LEAST = 5
DRAWS = 1000
CONFIDENCE = 0.95
UNSAFE_BELOW = 0.5
"""A rank correlation whose interval lies below this hardly says who will win."""


class RungFidelity(Config):
    """One rung."""

    epoch: int  # of the rung
    trials: int  # complete ones that were compared
    stopped: int = 0  # trials that the scheduler ended here
    spearman: float  # rank correlation of the value here with the final one
    low: float  # end of its bootstrap interval
    high: float
    kendall: float  # the same by pairs: share in the same order minus share in the other
    # of the best three in the end, numbers of those outside the share that this rung lets pass
    finalists_lost: tuple[int, ...] = ()
    # `safe`: the interval lies above 0.5 and no finalist would have been lost; `unsafe`: it lies below, or the eventual
    # winner would have been lost; `unclear`: anything else
    verdict: Literal["safe", "unclear", "unsafe"]


class FidelityAudit(Config):
    """All rungs."""

    rungs: tuple[RungFidelity, ...] = ()  # lowest first; empty when too few trials completed
    warning: str = ""  # what to change, when a rung was unsafe
    note: str = ""  # what the numbers cannot say


def fidelity_audit(records: Sequence[TrialRecord], scheduler: SchedulerSpec, direction: str) -> FidelityAudit:
    """Compare the best value until each rung with the best value of the whole trial, over complete trials."""
    complete = [r for r in searched(records) if r.outcome is Outcome.COMPLETE and r.best_value is not None]
    if len(complete) < LEAST:
        return FidelityAudit(note=f"At least {LEAST} complete trials are needed to compare; there are {len(complete)}.")
    stopped = [v.rung for r in records for v in r.verdicts if v.action == "stop"]
    made = []
    for epoch in audit_epochs(scheduler, min(r.epoch for r in complete)):
        rung = _rung(complete, epoch, direction, _share(scheduler))
        made.append(rung.model_copy(update={"stopped": stopped.count(epoch)}))
    return FidelityAudit(rungs=tuple(made), warning=_warning(made, scheduler), note=_note(len(complete), len(stopped)))


def _share(scheduler: SchedulerSpec) -> float:
    """Of the trials at a rung that may go on unchanged."""
    match scheduler:
        case ASHA():
            return 1 / scheduler.reduction
        case MedianRule() | NoScheduler():
            return 0.5
        case PBT():
            return 1 - scheduler.share
        case _:
            assert_never(scheduler)


def _rung(complete: Sequence[TrialRecord], epoch: int, direction: str, share: float) -> RungFidelity:
    sign = 1.0 if direction == "maximize" else -1.0
    here = sign * np.array([best_until(r, epoch, direction) for r in complete], dtype=float)
    final = sign * np.array([r.best_value for r in complete], dtype=float)
    spearman, low, high = rank_correlation(here, final)
    bar = np.sort(here)[::-1][max(1, int(len(here) * share)) - 1]
    finalists = np.argsort(-final, kind="stable")[:3]
    lost = tuple(complete[i].number for i in finalists if here[i] < bar)
    winner_lost = bool(here[finalists[0]] < bar)
    verdict: Literal["safe", "unclear", "unsafe"] = "unclear"
    if high < UNSAFE_BELOW or winner_lost:
        verdict = "unsafe"
    elif low > UNSAFE_BELOW and not lost:
        verdict = "safe"
    return RungFidelity(
        epoch=epoch,
        trials=len(complete),
        spearman=spearman,
        low=low,
        high=high,
        kendall=_finite(float(stats.kendalltau(here, final).statistic)),
        finalists_lost=lost,
        verdict=verdict,
    )


def rank_correlation(x: Array, y: Array) -> tuple[float, float, float]:
    """Spearman's rank correlation of [n] and [n] with a bootstrap interval over rows; 0 where one does not vary."""
    drawn = np.random.default_rng(0).integers(len(x), size=(DRAWS, len(x)))
    estimate = float(_spearman(x[None], y[None])[0])
    low, high = np.quantile(_spearman(x[drawn], y[drawn]), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return estimate, min(float(low), estimate), max(float(high), estimate)


def _spearman(x: Array, y: Array) -> Array:
    """[m] of the rows of [m, n] and [m, n]."""
    a, b = stats.rankdata(x, axis=1), stats.rankdata(y, axis=1)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(np.where(scale > 0, (a * b).sum(axis=1) / np.maximum(scale, 1e-12), 0.0))


def _finite(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _warning(made: Sequence[RungFidelity], scheduler: SchedulerSpec) -> str:
    unsafe = [rung for rung in made if rung.verdict == "unsafe"]
    if not unsafe:
        return ""
    epochs = ", ".join(str(rung.epoch) for rung in unsafe)
    why = "the order there hardly says who is best in the end"
    if isinstance(scheduler, NoScheduler):
        return f"Stopping trials at epoch {epochs} would not be safe here: {why}."
    remedy = f"let trials live longer (scheduler.grace above {unsafe[-1].epoch}), or compare with scheduler none"
    if isinstance(scheduler, PBT):
        remedy = f"compare less often (scheduler.every above {unsafe[-1].epoch})"
    return f"Pruning at epoch {epochs} was unsafe: {why}. Next time {remedy}."


def _note(complete: int, stopped: int) -> str:
    if not stopped:
        return f"Over {complete} complete trials; none was stopped, so nobody is missing from the comparison."
    return (
        f"Over the {complete} trials that ran to their end. {stopped} were stopped: those that remain were chosen by "
        "the very values compared here, so the correlations are too low rather than too high, and a good trial that "
        "was stopped by mistake cannot show. A few trials with scheduler none would tell."
    )
