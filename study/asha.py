"""Asynchronous successive halving, the stopping variant (Li et al., MLSys 2020, arXiv:1810.05934, §3).

Rungs lie at grace, grace * reduction, grace * reduction^2, … epochs. A trial that reaches a rung is compared, by
its best value so far, with all that reached it before: unless it is among the best 1/reduction it stops. Fewer
than `reduction` trials at a rung are too few to judge by. Decisions depend on what was recorded only, so the
state is rebuilt from the ledger's curves and needs no file of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from study.outcome import better


@dataclass
class SuccessiveHalving:
    """The rungs of one study."""

    grace: int
    reduction: int
    direction: str
    rungs: dict[int, dict[int, float]] = field(default_factory=dict)
    """epoch of the rung -> trial number -> best value up to there"""

    def is_rung(self, epoch: int) -> bool:
        """Whether trials are compared after this epoch."""
        level = self.grace
        while level < epoch:
            level *= self.reduction
        return level == epoch

    def record(self, number: int, epoch: int, value: float) -> None:
        """Note that a trial reached `epoch` with this best value; other epochs than rungs are ignored."""
        if self.is_rung(epoch):
            self.rungs.setdefault(epoch, {})[number] = value

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Forget all and record every (number, epoch -> objective) curve again."""
        self.rungs.clear()
        for number, curve in curves:
            best: float | None = None
            for epoch in sorted(curve):
                best = curve[epoch] if better(curve[epoch], best, self.direction) else best
                if best is not None:
                    self.record(number, epoch, best)

    def verdict(self, number: int, epoch: int) -> str | None:
        """Why the trial, recorded at this rung, should stop; None to go on."""
        rung = self.rungs.get(epoch, {})
        if number not in rung or len(rung) < self.reduction:
            return None
        survivors = len(rung) // self.reduction
        ranked = sorted(rung.values(), reverse=self.direction == "maximize")
        cut, own = ranked[survivors - 1], rung[number]
        if not better(cut, own, self.direction):
            return None
        return (
            f"ASHA rung of {epoch} epochs: {own:.4g} is not among the best {survivors} of {len(rung)} "
            f"(the last of them has {cut:.4g})"
        )
