"""Which of several configurations is better, although a scheduler let them train for different numbers of epochs.

Optuna's TPE ranks every complete trial above every stopped one: what lost narrowly at a late rung counts among the bad,
below the mediocre ones that were let through while there was nothing to compare them with. Here two configurations
are compared where both have been, by their best values up to the last epoch that both reached; a complete one stays as
it ended. A configuration's score is the share of the others that it beats so (Copeland's method; ties count half).
Complete ones among themselves have the order of their values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Course:
    """How far one configuration came.

    Attributes:
        losses: epoch -> best loss up to there, rising epochs; empty if it never had one.
        complete: it was trained to its end.
    """

    losses: Mapping[int, float]
    complete: bool


class Courses:
    """Many of them as arrays: asked for scores again and again, with few changes in between."""

    def __init__(self) -> None:
        self._epochs = np.zeros(1, dtype=np.int64)  # that anything was said about, rising
        self._best = np.full((0, 1), np.inf)  # [configurations, epochs], the last one carried on
        self._ends = np.zeros(0, dtype=np.int64)
        self._complete = np.zeros(0, dtype=bool)

    def put(self, position: int, course: Course) -> None:
        """At a place of its own, or in place of what was there."""
        epochs = np.fromiter(course.losses, dtype=np.int64, count=len(course.losses))
        self._widen(epochs)
        self._lengthen(position + 1)
        row = self._best[position]
        row[:] = np.inf
        for column, loss in zip(np.searchsorted(self._epochs, epochs), course.losses.values(), strict=True):
            row[column:] = loss
        self._ends[position], self._complete[position] = max(course.losses, default=0), course.complete

    def scores(self, wanted: Sequence[int]) -> Floats:
        """[len(wanted)] between 0 and 1: the share of the other wanted ones that each beats.

        One without a loss beats none and is beaten by all. Takes about E n log n steps where stopped configurations
        have E different last epochs.
        """
        places: Positions = np.asarray(wanted, dtype=np.int64)
        wins = np.zeros(len(places))
        known = np.isfinite(self._best[places, -1]) if len(places) else np.zeros(0, dtype=bool)
        if known.any():
            wins[known] = self._wins(places[known]) + np.count_nonzero(~known)
        return wins / max(1, len(places) - 1)

    def _wins(self, places: Positions) -> Floats:
        beyond = int(self._epochs[-1]) + 1
        ends = np.where(self._complete[places], beyond, self._ends[places])
        wins = np.zeros(len(places))
        for level in np.unique(ends):
            here = self._best[places, np.searchsorted(self._epochs, level, side="right") - 1]
            ended, later = ends == level, ends > level
            # those that end here meet all that came so far, themselves left out; who went on meets those that end
            wins[ended] += _beaten(here[ended], here[ended | later]) - 0.5
            wins[later] += _beaten(here[later], here[ended])
        return wins

    def _widen(self, epochs: Positions) -> None:
        """Columns for epochs that are new; each begins as the one before it."""
        merged = np.union1d(self._epochs, epochs)
        if len(merged) > len(self._epochs):
            before = np.searchsorted(self._epochs, merged, side="right") - 1
            self._best = np.where(before >= 0, self._best[:, np.maximum(before, 0)], np.inf)
            self._epochs = merged

    def _lengthen(self, rows: int) -> None:
        more = 2 * rows - len(self._best) if rows > len(self._best) else 0
        if more:
            self._best = np.concatenate([self._best, np.full((more, self._best.shape[1]), np.inf)])
            self._ends = np.concatenate([self._ends, np.zeros(more, dtype=np.int64)])
            self._complete = np.concatenate([self._complete, np.zeros(more, dtype=bool)])


def _beaten(own: Floats, others: Floats) -> Floats:
    """For each of `own`, how many of `others` have a higher loss; equal ones count half."""
    order = np.sort(others)
    right, left = np.searchsorted(order, own, side="right"), np.searchsorted(order, own, side="left")
    return np.asarray(len(order) - right + 0.5 * (right - left), dtype=np.float64)
