"""Fidelity audit, rungs, Pareto front and confirmations, from records alone."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_sessions import FakeConfig
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from study_records import CONFIRMS, record, stop

from search_spaces.space import SearchSpace, load_space
from study.analysis.fidelity import fidelity_audit, rank_correlation, rung_epochs, rungs
from study.analysis.pareto import front, pareto, volumes
from study.engine.feature_groups import winner, without_group
from study.engine.trial_queue import confirmations
from study.record.trial_record import TrialRecord
from study.spec.outcome import Outcome
from study.spec.scheduler_spec import ASHA, PBT, MedianRule, NoScheduler
from study.spec.study_spec import Constraint, ObjectiveMetric, StudySpec


def crossing(trials: int, agree: bool, seed: int = 0) -> list[TrialRecord]:
    """Curves of 9 epochs whose order at epoch 1 and 3 is the final one, or its reverse."""
    rng = np.random.default_rng(seed)
    made = []
    for number, quality in enumerate(rng.permutation(trials) / trials):
        start = quality if agree else 1 - quality
        made.append(record(number, [0.1 * start + 0.01 * e + (quality if e == 9 else 0) for e in range(1, 10)]))
    return made


def test_rungs_that_foresee_the_end_are_safe_and_others_are_not() -> None:
    good = fidelity_audit(crossing(20, agree=True), ASHA(grace=1, reduction=3), "maximize")
    assert [rung.epoch for rung in good.rungs] == [1, 3]
    assert {rung.verdict for rung in good.rungs} == {"safe"}
    assert good.rungs[0].spearman == pytest.approx(1.0)
    assert good.warning == ""
    bad = fidelity_audit(crossing(20, agree=False), ASHA(grace=1, reduction=3), "maximize")
    assert {rung.verdict for rung in bad.rungs} == {"unsafe"}
    assert bad.rungs[0].kendall == pytest.approx(-1.0)
    assert len(bad.rungs[0].finalists_lost) == 3
    assert "Pruning at epoch 1, 3 was unsafe" in bad.warning
    assert "scheduler.grace above 3" in bad.warning


def test_the_audit_minimises_too() -> None:
    turned = [record(r.number, [-v for v in r.curve.values()], direction="minimize") for r in crossing(12, True)]
    audit = fidelity_audit(turned, ASHA(grace=1, reduction=3), "minimize")
    assert [round(rung.spearman, 6) for rung in audit.rungs] == [1.0, 1.0]


def test_the_audit_says_who_is_missing() -> None:
    stopped = [record(100 + n, [0.0], outcome=Outcome.STOPPED, epochs=9, verdicts=(stop(1),)) for n in range(5)]
    audit = fidelity_audit([*crossing(8, True), *stopped], ASHA(grace=1, reduction=3), "maximize")
    assert audit.rungs[0].stopped == 5
    assert audit.rungs[0].trials == 8
    assert "5 were stopped" in audit.note
    assert "too low rather than too high" in audit.note
    few = fidelity_audit([*crossing(4, True), *stopped], ASHA(), "maximize")
    assert few.rungs == ()
    assert "there are 4" in few.note
    assert "none was stopped" in fidelity_audit(crossing(6, True), NoScheduler(), "maximize").note


def test_without_a_scheduler_the_audit_advises() -> None:
    audit = fidelity_audit(crossing(20, agree=False), NoScheduler(), "maximize")
    assert [rung.epoch for rung in audit.rungs] == [1, 2, 4]
    assert "would not be safe" in audit.warning


@given(hnp.arrays(np.float64, (2, 12), elements=st.integers(-5, 5).map(float)))
def test_rank_correlation_is_scipys(pair: np.ndarray) -> None:
    if np.ptp(pair[0]) == 0 or np.ptp(pair[1]) == 0:
        return
    estimate, low, high = rank_correlation(pair[0], pair[1])
    assert estimate == pytest.approx(stats.spearmanr(pair[0], pair[1]).statistic)
    assert -1 - 1e-9 <= low <= estimate <= high <= 1 + 1e-9


def test_rungs_follow_the_scheduler() -> None:
    assert rung_epochs(ASHA(grace=2, reduction=3), 20) == (2, 6, 18)
    assert rung_epochs(ASHA(grace=2, reduction=3), 18) == (2, 6)
    assert rung_epochs(MedianRule(grace=3, every=2), 8) == (3, 5, 7)
    assert rung_epochs(PBT(every=4, perturb=("lr",)), 9) == (4, 8)
    assert rung_epochs(NoScheduler(), 9) == ()


def test_rungs_count_who_passed() -> None:
    records = [
        record(0, [0.1] * 9),
        record(1, [0.1] * 2, outcome=Outcome.STOPPED, epochs=9, verdicts=(stop(2, bar=0.3),)),
        record(2, [0.1] * 6, outcome=Outcome.STOPPED, epochs=9, verdicts=(stop(6, bar=0.7),)),
        record(3, [0.1] * 3, outcome=None, epochs=9),
        record(4, [0.1] * 9, origin=CONFIRMS),
    ]
    first, second = rungs(records, ASHA(grace=2, reduction=3))
    assert (first.reached, first.passed, first.stopped, first.bar) == (4, 3, 1, 0.3)
    assert (second.reached, second.passed, second.stopped, second.bar) == (2, 1, 1, 0.7)
    assert rungs([], ASHA()) == ()


def vectors(values: list[tuple[float, float]], **more: Any) -> list[TrialRecord]:
    return [record(n, [a], vector={"acc": a, "cost": b}, **more) for n, (a, b) in enumerate(values)]


BOTH = (ObjectiveMetric(metric="acc"), ObjectiveMetric(metric="cost", direction="minimize"))


def test_the_front_and_its_volume() -> None:
    found = pareto(vectors([(0.5, 10.0), (0.9, 30.0), (0.6, 30.0), (0.1, 20.0)]), BOTH)
    assert [point.number for point in found.points if point.front] == [0, 1]
    assert found.reference == {"acc": 0.1, "cost": 30.0}
    # the box is 0.8 x 20; trial 0 dominates 0.4 x 20 of it, trial 1 lies on its edge
    assert found.volumes == pytest.approx((0.5, 0.5, 0.5, 0.5))


def test_a_broken_constraint_keeps_off_the_front() -> None:
    found = pareto(vectors([(0.5, 10.0), (0.9, 30.0)]), BOTH, (Constraint(metric="cost", at_most=20),))
    assert [(p.feasible, p.front) for p in found.points] == [(True, True), (False, False)]
    assert pareto(vectors([(0.5, 1.0)]), BOTH).note == "At least two complete trials are needed."
    lacking = [*vectors([(0.5, 1.0), (0.6, 2.0)]), record(9, [0.1])]
    assert pareto(lacking, BOTH).note == "1 complete trials lack an objective."


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.floats(0, 1)))
def test_volume_is_what_points_of_the_box_say(points: np.ndarray) -> None:
    kept = np.unique(points[front(points)], axis=0)
    drawn = np.random.default_rng(0).random((4000, points.shape[1]))
    share = np.mean([(points <= x).all(axis=1).any() for x in drawn])
    assert volumes(kept, np.ones(len(kept), dtype=bool))[-1] == pytest.approx(share, abs=0.05)
    grown = volumes(points, np.ones(len(points), dtype=bool))
    assert all(a <= b + 1e-12 for a, b in pairwise(grown)), "a front only grows"
    assert grown[-1] == pytest.approx(volumes(kept, np.ones(len(kept), dtype=bool))[-1])


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 4).map(float)))
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(losses: np.ndarray) -> None:
    kept = front(losses)
    for i, own in enumerate(losses):
        beaten = any((other <= own).all() and (other < own).any() for other in losses)
        assert kept[i] == (not beaten)


class FeatureConfig(FakeConfig):
    features: tuple[str, ...] = ("xyz",)


CHOICES = [["xyz"], ["xyz", "scale", "rotation"], ["xyz", "normals"]]


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "space.yaml"
    section = {"features": {"choice": CHOICES}, "quality": {"float": [0.1, 1.0]}}
    path.write_text(yaml.safe_dump({"recipe": "fake", "preset": "quick", "space": section}))
    return load_space(path, lambda *_: FeatureConfig())


def searched_trials() -> list[TrialRecord]:
    return [
        record(0, [0.5], values={"features": ["xyz"], "quality": 0.5}),
        record(1, [0.9], values={"features": ["xyz", "scale", "rotation"], "quality": 0.9}),
        record(2, [0.95], values={"features": ["xyz", "normals"], "quality": 0.2}, outcome=Outcome.STOPPED),
    ]


def test_confirmations_drop_one_group_of_the_winner_each(space: SearchSpace) -> None:
    records = searched_trials()
    asked = confirmations(space, StudySpec(), records)
    winner_values = {"features": ["xyz", "scale", "rotation"], "quality": 0.9}
    arms = [
        winner_values,
        {**winner_values, "features": ["xyz", "rotation"]},
        {**winner_values, "features": ["xyz", "scale"]},
    ]
    assert asked == arms * 3, "each arm once before any twice; three seeds at least"
    assert len(confirmations(space, StudySpec(repeats=5), records)) == 15


def test_confirmations_end(space: SearchSpace) -> None:
    records = searched_trials()
    spec = StudySpec()
    number = 10
    while asked := confirmations(space, spec, records):
        failed = number == 12
        records.append(
            record(
                number,
                [] if failed else [1.5],
                values=asked[0],
                origin=CONFIRMS,
                outcome=Outcome.CRASHED if failed else Outcome.COMPLETE,
            )
        )
        number += 1
    assert number == 19, "a failed one is not run again, and confirmations never become the winner"
    best = winner(records, "maximize")
    assert best is not None
    assert best.number == 1


def test_no_confirmations_without_a_winner_or_groups(space: SearchSpace) -> None:
    assert confirmations(space, StudySpec(), []) == []
    only_base = [record(0, [0.5], values={"features": ["xyz"], "quality": 0.5})]
    assert confirmations(space, StudySpec(), only_base) == []


def test_the_winner_is_the_best_mean() -> None:
    lucky = [record(n, [value], values={"a": 1}, configuration=0) for n, value in ((0, 0.9), (1, 0.1))]
    steady = [record(n, [0.6], values={"a": 2}, configuration=2) for n in (2, 3)]
    found = winner([*lucky, *steady], "maximize")
    assert found is not None
    assert found.number == 2
    assert winner([], "maximize") is None


def test_without_group() -> None:
    assert without_group({"f": ["a", "b"], "x": 1}, "f", "b") == {"f": ["a"], "x": 1}
    assert without_group({"f": ["a"]}, "f", "a") is None
    assert without_group({"f": ["a", "c"]}, "f", "b") is None
    assert without_group({}, "f", "b") is None
