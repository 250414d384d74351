"""How a scheduler is asked, and the rung that every one of them compares by."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping

from study.record.trial_record import Verdict


class Rule:
    """A scheduler; this one lets every trial go on. Decisions depend on recorded curves only, never on a clock."""

    def observe(self, number: int, epoch: int, value: float) -> None:
        """A trial reported this objective (of the epoch, not the best so far). Told again, it replaces the first."""

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """Asked after `observe` of the same epoch; None lets the trial go on."""
        return None

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Observe every (number, epoch -> objective) curve: the rule is left as if it had seen every report."""
        for number, curve in curves:
            for epoch in sorted(curve):
                self.observe(number, epoch, curve[epoch])


class Rung:
    """Values of the trials that reached one epoch, best first.

    It is asked in O(log n) and filled in O(n) moves of a few bytes, so a verdict among 1,000 trials costs microseconds.
    """

    def __init__(self, direction: str) -> None:
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._own: dict[int, float] = {}
        self._losses: list[float] = []  # ascending: the best has the lowest

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, number: int) -> bool:
        return number in self._own

    @property
    def values(self) -> Mapping[int, float]:
        """Trial number -> value."""
        return self._own

    def put(self, number: int, value: float) -> None:
        """Enter a trial, or give it another value."""
        if number in self._own:
            del self._losses[bisect_left(self._losses, self._sign * self._own[number])]
        self._own[number] = value + 0.0
        insort(self._losses, self._sign * value)

    def place(self, place: int) -> float:
        """The value in a place; 1 is the best."""
        return self._sign * self._losses[place - 1] + 0.0  # never -0.0

    def median_without(self, number: int) -> float:
        """The median of the others; between two middle ones their mean. At least one other must be there."""
        losses, count = self._losses, len(self._losses)
        own = count
        if number in self._own:
            own, count = bisect_right(losses, self._sign * self._own[number]) - 1, count - 1

        def other(index: int) -> float:
            return losses[index + (index >= own)]

        return self._sign * (other((count - 1) // 2) + other(count // 2)) / 2 + 0.0
