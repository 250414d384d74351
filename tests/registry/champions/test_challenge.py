"""Challengers tested together: Holm's procedure beside its definition, and how seldom luck passes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.champions.gate import challenge_all, lower_bound, p_value
from ssl_core.evaluation.statistics import Interval

ALPHA = 0.025


def answers(
    rng: np.random.Generator, chance: np.ndarray | float, draws: int = 6, objects: int = 120
) -> list[list[float]]:
    """Right or wrong by chance, per object if given so."""
    return (rng.random((draws, objects)) < chance).astype(float).tolist()


def holm_by_definition(p_values: dict[str, float], alpha: float) -> set[str]:
    """Holm 1979: reject the smallest k such that each of the first k is at most alpha / (m - its rank)."""
    ordered = sorted(p_values, key=p_values.get)
    rejected = set()
    for rank, name in enumerate(ordered):
        if p_values[name] > alpha / (len(ordered) - rank):
            break
        rejected.add(name)
    return rejected


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.floats(0.45, 0.75), min_size=1, max_size=5), st.lists(st.floats(0, 1), max_size=4), st.integers(0, 99)
)
def test_it_is_holms_procedure(chances, earlier, seed):
    """Where quantile and normal bound agree on which side of the margin they lie, the verdicts are Holm's."""
    rng = np.random.default_rng(seed)
    champion = answers(rng, 0.55)
    pairs = {str(i): (answers(rng, chance), champion) for i, chance in enumerate(chances)}
    tried = challenge_all(pairs, 0.0, 0.95, earlier)
    p_values = {name: challenge.p for name, challenge in tried.items()}
    family = {**p_values, **{f"earlier {i}": p for i, p in enumerate(earlier)}}
    expected = holm_by_definition(family, ALPHA)
    near = any(0.4 < challenge.p / challenge.level < 2.5 for challenge in tried.values())
    near = near or any(p < ALPHA for p in earlier)
    if not near:
        assert {name for name, challenge in tried.items() if challenge.passed} == expected & set(pairs)
    for challenge in tried.values():
        assert challenge.family == len(pairs) + len(earlier)
        assert ALPHA / challenge.family - 1e-12 <= challenge.level <= ALPHA + 1e-12
        assert not challenge.passed or challenge.bound > 0


def test_one_alone_is_tested_at_the_usual_bound():
    rng = np.random.default_rng(0)
    champion, better = answers(rng, 0.5), answers(rng, 0.7)
    alone = challenge_all({"a": (better, champion)}, 0.0, 0.95)["a"]
    assert alone.passed
    assert alone.level == pytest.approx(ALPHA)
    assert alone.bound == alone.interval.low


def test_more_challengers_raise_the_bar_but_not_out_of_reach():
    rng = np.random.default_rng(1)
    shared = rng.uniform(0.3, 0.9, 120)
    champion, better = answers(rng, shared), answers(rng, np.clip(shared + 0.2, 0, 1))
    bounds = [lower_bound(better, champion, ALPHA / family) for family in (1, 5, 50)]
    assert bounds == sorted(bounds, reverse=True)
    crowd = challenge_all({"a": (better, champion)}, 0.0, 0.95, [1.0] * 49)["a"]
    assert crowd.passed
    assert crowd.family == 50
    assert not challenge_all({"a": (champion, champion)}, 0.0, 0.95)["a"].passed


def test_p_values_agree_with_their_interval():
    """p is below alpha where the normal lower bound is above the margin; no spread is no doubt."""
    interval = Interval(mean=0.04, low=0.0, high=0.08, se=0.02, n=9)
    assert p_value(interval, 0.0) == pytest.approx(0.02275, abs=1e-4)
    assert p_value(interval, 0.04) == pytest.approx(0.5)
    certain = interval.model_copy(update={"se": 0.0})
    assert p_value(certain, 0.0) == 0.0
    assert p_value(certain, 0.04) == 1.0


def test_a_crowd_of_equals_seldom_dethrones_the_champion():
    """Five equals at once, each right or wrong by its own luck on objects of differing difficulty: together they
    dethrone the champion in at most a few of a hundred cases, tested apart more often."""
    rng = np.random.default_rng(2)
    together = apart = 0
    for _ in range(40):
        difficulty = rng.uniform(0.3, 0.95, 40)
        champion, *others = (answers(rng, difficulty, draws=4, objects=40) for _ in range(6))
        tried = challenge_all({i: (other, champion) for i, other in enumerate(others)}, 0.0, 0.95).values()
        together += any(challenge.passed for challenge in tried)
        apart += any(challenge.interval.low > 0 for challenge in tried)
    assert together <= 2
    assert together <= apart
