"""Rules that stop running trials, and from the `scheduler` section to the rule that decides."""

from statistics import fmean
from typing import assert_never

from search_spaces.space import SearchSpace
from study.record.trial_record import Verdict
from study.schedulers.pbt import Population, PopulationBased
from study.schedulers.rung_order import Rule, Rung
from study.spec.outcome import better
from study.spec.scheduler_spec import ASHA, PBT, MedianRule, NoScheduler, SchedulerSpec


class SuccessiveHalving(Rule):
    """Asynchronous successive halving, the stopping variant (Li et al., MLSys 2020, arXiv:1810.05934, §3).

    Rungs lie at grace, grace * reduction, grace * reduction^2, … epochs. A trial that reaches a rung is compared, by
    its best value so far, with all that reached it before: unless it is among the best 1/reduction it stops. Fewer
    than `reduction` trials at a rung are too few to judge by.
    """

    def __init__(self, spec: ASHA, direction: str) -> None:
        self._spec, self._direction = spec, direction
        self._best = max if direction == "maximize" else min
        self._curves: dict[int, dict[int, float]] = {}
        self.rungs: dict[int, Rung] = {}
        """epoch -> trials by their best value up to there"""

    def observe(self, number: int, epoch: int, value: float) -> None:
        """An epoch told again changes the rungs above it as well."""
        curve = self._curves.setdefault(number, {})
        curve[epoch] = value
        if self._is_rung(epoch):
            self.rungs.setdefault(epoch, Rung(self._direction))
        for level, rung in self.rungs.items():
            if level >= epoch and level in curve:
                rung.put(number, self._best(v for e, v in curve.items() if e <= level))

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """Stop a trial that is not among the best of its rung; None to go on."""
        rung = self.rungs.get(epoch)
        if rung is None or number not in rung or len(rung) < self._spec.reduction:
            return None
        survivors, among = len(rung) // self._spec.reduction, len(rung)
        bar, own = rung.place(survivors), rung.values[number]
        if not better(bar, own, self._direction):
            return None
        reason = (
            f"ASHA rung of {epoch} epochs: {own:.4g} is not among the best {survivors} of {among} "
            f"(the last of them has {bar:.4g})"
        )
        return Verdict(scheduler="asha", rung=epoch, value=own, bar=bar, among=among, reason=reason)

    def _is_rung(self, epoch: int) -> bool:
        level = self._spec.grace
        while level < epoch:
            level *= self._spec.reduction
        return level == epoch


class MedianStopping(Rule):
    """The median stopping rule (Golovin et al., KDD 2017, §3.2.2).

    A trial stops when its best value so far is worse than the median, over the other trials that reached this epoch,
    of their mean value up to it. The running mean makes one lucky epoch of the others no bar, the best so far makes
    one bad epoch of the trial no fault.
    """

    def __init__(self, spec: MedianRule, direction: str) -> None:
        self._spec, self._direction = spec, direction
        self._best = max if direction == "maximize" else min
        self._curves: dict[int, dict[int, float]] = {}
        self._means: dict[int, Rung] = {}

    def observe(self, number: int, epoch: int, value: float) -> None:
        """An epoch told again changes the means after it as well."""
        curve = self._curves.setdefault(number, {})
        curve[epoch] = value
        for level in [epoch] if epoch == max(curve) else [e for e in curve if e >= epoch]:
            if level >= self._spec.grace and (level - self._spec.grace) % self._spec.every == 0:
                means = self._means.setdefault(level, Rung(self._direction))
                means.put(number, _mean([v for e, v in sorted(curve.items()) if e <= level]))

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """Stop a trial whose best is worse than the median of the others' means; None to go on."""
        means = self._means.get(epoch)
        if means is None or number not in means or len(means) - 1 < self._spec.least:
            return None
        own = self._best(v for e, v in self._curves[number].items() if e <= epoch)
        bar = means.median_without(number)
        if not better(bar, own, self._direction):
            return None
        reason = (
            f"median rule after {epoch} epochs: the best so far, {own:.4g}, is worse than {bar:.4g}, the "
            f"median of the running means of {len(means) - 1} other trials"
        )
        return Verdict(scheduler="median", rung=epoch, value=own, bar=bar, among=len(means), reason=reason)


def _mean(values: list[float]) -> float:
    """Never beyond the values themselves, as rounding would have it: who leads must not stop."""
    return min(max(fmean(values), min(values)), max(values))


def build_rule(spec: SchedulerSpec, direction: str, space: SearchSpace, seed: int, population: Population) -> Rule:
    """The rule of a study.

    Args:
        population: whom PBT takes checkpoints from.
    """
    match spec:
        case ASHA():
            return SuccessiveHalving(spec, direction)
        case MedianRule():
            return MedianStopping(spec, direction)
        case PBT():
            return PopulationBased(spec, direction, space, seed, population)
        case NoScheduler():
            return Rule()
        case _:
            assert_never(spec)
