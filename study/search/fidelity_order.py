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


@dataclass(frozen=True)
class Course:
    """How far one configuration came.

    Attributes:
        losses: epoch -> best loss up to there; empty if it never had one.
        complete: it was trained to its end.
    """

    losses: Mapping[int, float]
    complete: bool


def scores(courses: Sequence[Course]) -> Floats:
    """[n] between 0 and 1: the share of the others that each beats. One without a loss beats none and is beaten by all.

    Takes about E n log n steps where stopped configurations have E different last epochs.
    """
    known = np.array([bool(course.losses) for course in courses], dtype=bool)
    wins = np.zeros(len(courses))
    told = [course for course, some in zip(courses, known, strict=True) if some]
    if told:
        wins[known] = _wins(told) + np.count_nonzero(~known)
    return wins / max(1, len(courses) - 1)


def _wins(courses: Sequence[Course]) -> Floats:
    beyond = 1 + max(max(course.losses) for course in courses)
    ends = np.array([beyond if course.complete else max(course.losses) for course in courses])
    levels = np.unique(ends)
    losses = np.stack([_at(course, levels) for course in courses])  # [n, levels]
    wins = np.zeros(len(courses))
    for column, level in enumerate(levels):
        here = losses[:, column]
        ended, later = ends == level, ends > level
        # those that end here meet all that came so far, themselves left out; those that went on meet those that end
        wins[ended] += _beaten(here[ended], here[ended | later]) - 0.5
        wins[later] += _beaten(here[later], here[ended])
    return wins


def _at(course: Course, levels: NDArray[np.int64]) -> Floats:
    """[levels] best loss up to each; the last one beyond its end, infinite before its first."""
    epochs = np.fromiter(course.losses, dtype=np.int64, count=len(course.losses))
    values = np.fromiter(course.losses.values(), dtype=np.float64, count=len(course.losses))
    place = np.searchsorted(epochs, levels, side="right") - 1
    return np.where(place >= 0, values[np.maximum(place, 0)], np.inf)


def _beaten(own: Floats, others: Floats) -> Floats:
    """For each of `own`, how many of `others` have a higher loss; equal ones count half."""
    order = np.sort(others)
    right, left = np.searchsorted(order, own, side="right"), np.searchsorted(order, own, side="left")
    return np.asarray(len(order) - right + 0.5 * (right - left), dtype=np.float64)
