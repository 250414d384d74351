"""Asynchronous successive halving, the stopping variant (Li et al., MLSys 2020, arXiv:1810.05934, §3).

Rungs lie at grace, grace * reduction, grace * reduction^2, … epochs. A trial that reaches a rung is compared, by
its best value so far, with all that reached it before: unless it is among the best 1/reduction it stops. Fewer
than `reduction` trials at a rung are too few to judge by.
"""

from collections.abc import Iterable, Mapping

from study.record.verdict import Verdict
from study.schedulers.rung_order import Rung
from study.spec.outcome import better
from study.spec.scheduler_spec import ASHA


class SuccessiveHalving:
    """The rungs of one study.

    Args:
        spec: grace and reduction.
        direction: of the objective.
    """

    def __init__(self, spec: ASHA, direction: str) -> None:
        self._spec, self._direction = spec, direction
        self._best = max if direction == "maximize" else min
        self._curves: dict[int, dict[int, float]] = {}
        self.rungs: dict[int, Rung] = {}
        """epoch -> trials by their best value up to there"""

    def is_rung(self, epoch: int) -> bool:
        """Whether trials are compared after this epoch."""
        level = self._spec.grace
        while level < epoch:
            level *= self._spec.reduction
        return level == epoch

    def observe(self, number: int, epoch: int, value: float) -> None:
        """A trial reported this objective. An epoch told again changes the rungs above it as well."""
        curve = self._curves.setdefault(number, {})
        curve[epoch] = value
        if self.is_rung(epoch):
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
        return Verdict(
            scheduler="asha",
            rung=epoch,
            value=own,
            bar=bar,
            among=among,
            reason=f"ASHA rung of {epoch} epochs: {own:.4g} is not among the best {survivors} of {among} "
            f"(the last of them has {bar:.4g})",
        )

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Forget all and observe every curve again."""
        self._curves.clear()
        self.rungs.clear()
        for number, curve in curves:
            for epoch in sorted(curve):
                self.observe(number, epoch, curve[epoch])
