"""How long an evaluation will still take, from what each kind of its work has taken so far.

A batch through an image network takes a hundred times as long as fitting a probe, so steps are never counted alike: of
each kind the seconds of its own steps count, and before its first step what is usual.
"""

import time
from collections import defaultdict
from collections.abc import Callable

from ssl_core.evaluation.report import EvaluationProgress

_USUAL = {"probes": 0.02, "fine tuning": 0.6}
"""seconds of a step, before one was made; measured on one core of an AMD EPYC"""
_ELSE, _FEATURES = 0.1, 0.3


class EvaluationPace:
    """Listens to one evaluation.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._last = clock, clock(), clock()
        self._done, self._what = 0, ""
        self._spent, self._made = defaultdict[str, float](float), defaultdict[str, int](int)

    def listen(self, stand: EvaluationProgress) -> None:
        """Told of every step."""
        now = self._clock()
        self._spent[self._what] += now - self._last
        self._made[stand.what] += max(0, stand.done - self._done)
        self._last, self._done, self._what = now, stand.done, stand.what

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._began

    def left(self, stand: EvaluationProgress) -> float | None:
        """Seconds; None before anything is known."""
        if not stand.plan:
            return self.spent * (stand.total - stand.done) / stand.done if stand.done else None
        return sum(max(0, count - self._made[what]) * self._rate(what) for what, count in stand.plan.items())

    def _rate(self, what: str) -> float:
        """Seconds per step."""
        if made := self._made[what]:
            return self._spent[what] / made
        if what.startswith("features"):  # all read the same pack through networks of one architecture
            known = [kind for kind in self._made if kind.startswith("features") and self._made[kind]]
            spent, made = sum(self._spent[kind] for kind in known), sum(self._made[kind] for kind in known)
            return spent / made if made else _FEATURES
        return _USUAL.get(what, _ELSE)


def share(stand: EvaluationProgress, spent: float, left: float | None) -> float:
    """Of the time, in [0, 1]; of the steps where their kinds are not known."""
    if left is None or not stand.plan:
        return stand.done / stand.total if stand.total else 0.0
    return spent / (spent + left) if spent + left > 0 else 0.0


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
