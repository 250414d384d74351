"""Curves, clocks and tables of the simulator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_plans import make_space
from faulty_simulation import FaultyCurve, Mishap, simulate_mishaps
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.recorded_runs import NearestRun, RecordedRun, RecordedRuns, coordinates, load_runs
from benchmarks.surrogate import Surrogate, leave_one_out, noise_curves
from search_spaces.parameter import Choice, FloatRange, IntRange, Parameter
from search_spaces.space import SearchSpace
from ssl_core.errors import DataError, InfeasibleError
from study.forecast.learning_curve import Curve, PowerLaw, draws, place
from study.forecast.simulated_driver import FakeClock, Simulation
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec

METRIC = "val/probe"


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    ranges = {"quality": {"float": [0.1, 1.0]}, "pace": {"log": [0.01, 1.0]}, "mode": {"choice": ["good", "nan"]}}
    return make_space(tmp_path, ranges)


def table_of(space: SearchSpace, runs: int, seeds: int = 1, noise: float = 0.0) -> RecordedRuns:
    """Runs of a smooth landscape: the objective grows with quality."""
    draw = np.random.default_rng(0)
    source = PowerLaw(space, metric=METRIC, epochs=9, uneven=0.0, noise=noise)
    found = []
    for _ in range(runs):
        mode = ["good", "nan"][int(draw.integers(2))]
        values = {"quality": float(draw.uniform(0.1, 1.0)), "pace": float(draw.uniform(0.01, 1)), "mode": mode}
        for seed in range(seeds):
            curve = source.curve(values, seed)
            metrics = {METRIC: tuple(row[METRIC] for row in curve.metrics), "val/other": (0.5,) * 9}
            found.append(RecordedRun(values=values, seed=seed, seconds=curve.seconds, metrics=metrics))
    return RecordedRuns(recipe="fake", about="made up", runs=tuple(found))


def test_a_clock_stands_until_it_is_set() -> None:
    clock = FakeClock()
    first = clock.monotonic()
    clock.advance_to(5.0)
    assert clock.monotonic() - first == 5.0
    with pytest.raises(ValueError, match="back"):
        clock.advance_to(4.0)


def test_a_curve_is_whole() -> None:
    with pytest.raises(ValueError, match="1 and 2"):
        Curve(({METRIC: 0.1},), (1.0, 2.0))


@given(seed=st.integers(0, 2**31), value=st.floats(0.1, 1.0))
def test_randomness_belongs_to_values_and_seed(seed: int, value: float) -> None:
    given_ = {"quality": value, "pace": 0.5}
    again = dict(reversed(given_.items()))
    assert draws(given_, seed).random() == draws(again, seed).random()
    assert draws(given_, seed).random() != draws(given_, seed + 1).random()
    assert draws(given_, seed).random() != draws(given_, seed, "other").random()


@pytest.mark.parametrize(
    ("domain", "value", "at"),
    [
        (FloatRange(kind="float", low=2.0, high=4.0), 3.0, 0.5),
        (FloatRange(kind="log", low=0.01, high=1.0), 0.1, 0.5),
        (IntRange(kind="int", low=2, high=10), 10, 1.0),
        (Choice(values=(["a"], ["b"], ["c"])), ["b"], 0.5),
        (Choice(values=("only",)), "only", 0.0),
    ],
)
def test_values_have_a_place_in_their_domain(domain: Any, value: Any, at: float) -> None:
    assert place(Parameter(key="x", domain=domain), value) == pytest.approx(at)


def test_ordered_curves_never_cross(space: SearchSpace) -> None:
    source = PowerLaw(space, metric=METRIC)
    values = [{"quality": q, "pace": 0.1, "mode": "good"} for q in np.linspace(0.1, 1, 12)]
    curves = np.array([[row[METRIC] for row in source.curve(each, 0).metrics] for each in values])
    orders = np.argsort(curves, axis=0)
    assert (orders == orders[:, :1]).all()
    assert (np.diff(curves, axis=1) > 0).all()


def test_late_curves_rest_first(space: SearchSpace) -> None:
    found = PowerLaw(space, metric=METRIC, late=1.0, epochs=9).curve({"quality": 0.5, "pace": 0.1, "mode": "good"}, 0)
    values = [row[METRIC] for row in found.metrics]
    assert len(set(values[:4])) == 1
    assert values[-1] > values[3]


class Always:
    """One curve for all; without a mishap, none is opened."""

    def __init__(self, mishap: Mishap | None) -> None:
        self.mishap = mishap

    def curve(self, values: Any, seed: int) -> Curve:
        if self.mishap is None:
            raise InfeasibleError("refused")
        return FaultyCurve(tuple({METRIC: 0.1 * epoch} for epoch in range(1, 5)), (10.0,) * 4, self.mishap)


@pytest.mark.parametrize(
    ("mishap", "outcome", "epoch", "crashes", "seconds"),
    [
        (Mishap("crash", 3, times=0), Outcome.COMPLETE, 4, 0, 42),
        (Mishap("crash", 3, times=1), Outcome.COMPLETE, 4, 1, 54),
        (Mishap("crash", 3, times=2), Outcome.CRASHED, 2, 2, 44),
        (Mishap("diverge", 2), Outcome.DIVERGED, 1, 0, 22),
        (None, Outcome.INFEASIBLE, 0, 0, 2),
        (Mishap("oom", 1, share=2.0), Outcome.COMPLETE, 4, 1, 54),
    ],
    ids=lambda value: value.kind if isinstance(value, Mishap) else "",
)
def test_one_trial(
    space: SearchSpace, mishap: Mishap | None, outcome: Outcome, epoch: int, crashes: int, seconds: float
) -> None:
    spec = StudySpec(metric=METRIC, trials=1, max_refused=1, scheduler="none")
    found = simulate_mishaps(Simulation(space, spec, Always(mishap), opening=2.0))
    record = found.records[0]
    assert (record.outcome, record.epoch, record.crashes) == (outcome, epoch, crashes)
    assert found.seconds == pytest.approx(seconds)
    assert found.receipt.held == pytest.approx(seconds)


def test_a_table_is_saved_and_read(space: SearchSpace, tmp_path: Path) -> None:
    table = table_of(space, 3, seeds=2)
    path = tmp_path / "table.json"
    table.save(path)
    assert load_runs(path) == table
    assert len(path.read_text().splitlines()) == 6 + 2
    assert [len(rows) for rows in table.groups()] == [2, 2, 2]
    document = json.loads(path.read_text())
    document["runs"][0]["seconds"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"table\.json"):
        load_runs(path)
    with pytest.raises(DataError, match="none"):
        load_runs(tmp_path / "none.json")


def test_choices_are_one_apart(space: SearchSpace) -> None:
    good = coordinates(space, {"quality": 0.5, "pace": 0.1, "mode": "good"})
    other = coordinates(space, {"quality": 0.5, "pace": 0.1, "mode": "nan"})
    assert np.linalg.norm(good - other) == pytest.approx(1.0)


def test_the_nearest_run_is_replayed(space: SearchSpace) -> None:
    table = table_of(space, 8, seeds=2, noise=0.1)
    source = NearestRun(space, table)
    for row, run in enumerate(table.runs):
        assert table.groups()[row // 2] == [row // 2 * 2, row // 2 * 2 + 1]
        near = {**run.values, "quality": run.values["quality"] + 1e-6}
        assert source.row(near, 5) // 2 == row // 2
    seeds = {source.row(table.runs[0].values, seed) for seed in range(20)}
    assert seeds == {0, 1}
    metrics = source.curve(table.runs[0].values, 0).metrics
    assert metrics[0]["val/other"] == 0.5


def test_a_surrogate_foretells_what_it_has_not_seen(space: SearchSpace) -> None:
    table = table_of(space, 30)
    left = leave_one_out(space, table, METRIC)
    assert left.error < 0.5 * left.spread
    assert left.rank > 0.8
    source = Surrogate(space, table, METRIC)
    run = table.runs[0]
    assert source.mean(run.values)[-1] == pytest.approx(run.metrics[METRIC][-1], abs=0.02)
    assert source.curve(run.values, 1).epochs == 9


def test_noise_is_taken_from_repeats(space: SearchSpace) -> None:
    table = table_of(space, 12, seeds=3, noise=0.05)
    noise = noise_curves(table, METRIC)
    assert noise.shape == (36, 9)
    assert noise.std() == pytest.approx(0.05, rel=0.15)
    source = Surrogate(space, table, METRIC)
    values = table.runs[0].values
    drawn = np.array([[row[METRIC] for row in source.curve(values, seed).metrics] for seed in range(200)])
    assert (drawn - source.mean(values)).std() == pytest.approx(0.05, rel=0.3)


def test_too_few_runs_are_refused(space: SearchSpace) -> None:
    with pytest.raises(DataError, match="too few"):
        Surrogate(space, table_of(space, 3), METRIC)
