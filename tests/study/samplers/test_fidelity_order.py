"""Trials of different length in one order: against the plain statement, pair by pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from study.samplers.view_storage import Course, Courses

steps = st.lists(st.integers(0, 6), min_size=0, max_size=6)


def course(values: list[int], complete: bool, first: int = 1) -> Course:
    best = [min(values[: i + 1]) for i in range(len(values))]
    return Course({first + i: float(value) for i, value in enumerate(best)}, complete)


def scores(courses: list[Course]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    table = Courses()
    for position, one in reversed(list(enumerate(courses))):
        table.put(position, Course({9: 1.0}, True))  # replaced
        table.put(position, one)
    return table.scores(range(len(courses)))


def plain(courses: list[Course]) -> list[float]:
    """Every pair, compared at the last epoch that both reached."""

    def at(one: Course, level: float) -> float:
        return min([value for epoch, value in one.losses.items() if epoch <= level], default=np.inf)

    found = []
    for i, one in enumerate(courses):
        wins = 0.0
        for j, other in enumerate(courses):
            if i == j or not one.losses:
                continue
            if not other.losses:
                wins += 1
                continue
            level = min(np.inf if c.complete else max(c.losses) for c in (one, other))
            mine, theirs = at(one, level), at(other, level)
            wins += 1.0 if mine < theirs else 0.5 if mine == theirs else 0.0
        found.append(wins / max(1, len(courses) - 1))
    return found


@given(st.lists(st.builds(course, steps, st.booleans(), st.sampled_from((1, 2, 3, 10**15))), max_size=9))
def test_scores_are_those_of_every_pair(courses: list[Course]) -> None:
    np.testing.assert_allclose(scores(courses), plain(courses))
    # a part of them, in another order
    table = Courses()
    for position, one in enumerate(courses):
        table.put(position, one)
    some = list(range(len(courses)))[::-2]
    np.testing.assert_allclose(table.scores(some), plain([courses[i] for i in some]))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9, unique=True))
def test_complete_ones_are_ordered_by_their_values(values: list[float]) -> None:
    """However long each trained."""
    found = scores([Course({epoch: 9.0, epoch + 1: value}, True) for epoch, value in enumerate(values, start=1)])
    assert np.argsort(-found).tolist() == np.argsort(values).tolist()


def test_a_narrow_loser_beats_the_mediocre_that_were_let_through() -> None:
    mediocre = Course({1: 0.9, 3: 0.8, 9: 0.7}, True)
    winner, narrow = Course({1: 0.3, 3: 0.2, 9: 0.1}, True), Course({1: 0.3, 3: 0.25}, False)
    found = scores([mediocre, winner, narrow])
    assert found[1] > found[2] > found[0]
