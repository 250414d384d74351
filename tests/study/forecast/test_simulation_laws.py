"""What holds for every sampler, scheduler, budget and accident: the laws of the engine, on simulated studies."""

from typing import Any

import pytest
from fake_plans import make_space
from faulty_simulation import NodeLoss, Observed, WildLaw, simulate_deaths, simulate_losses, simulate_mishaps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.space import SearchSpace
from study.forecast.simulated_driver import Simulation
from study.spec.budget import Budget, Epochs, GpuHours, Hours, NoImprovement, Target, Trials
from study.spec.outcome import Outcome
from study.spec.sampler_spec import CMAES, GP, NSGA2, NSGA3, TPE, GridSearch, QuasiRandom, RandomSearch, SamplerSpec
from study.spec.scheduler_spec import ASHA, PBT, MedianRule, NoScheduler, SchedulerSpec
from study.spec.study_spec import StudySpec

SAMPLERS: tuple[SamplerSpec, ...] = (
    TPE(startup=3),
    GP(startup=3),
    CMAES(population=4),
    NSGA2(population=4),
    NSGA3(population=4),
    RandomSearch(),
    GridSearch(steps=4),
    QuasiRandom(),
)
SCHEDULERS: tuple[SchedulerSpec, ...] = (
    ASHA(grace=1, reduction=3),
    MedianRule(grace=1, least=2),
    PBT(every=2, perturb=("pace",)),
    NoScheduler(),
)
WILD = {"crossing": 0.5, "noise": 0.02, "late": 0.2, "diverging": 0.1, "crashing": 0.2, "refused": 0.1}
QUICK = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    ranges = {"quality": {"float": [0.1, 1.0]}, "pace": {"log": [0.01, 1.0]}}
    return make_space(tmp_path_factory.mktemp("spaces"), ranges)


def scene(space: SearchSpace, curves: dict[str, Any] | None = None, slots: int = 2, **given: Any) -> Simulation:
    """Ten trials of nine epochs, unless said otherwise."""
    around = {key: given.pop(key) for key in ("gpus_per_slot", "opening") if key in given}
    spec = StudySpec(**{"metric": "val/probe", "trials": 10, **given})
    source = WildLaw(space, metric="val/probe", epochs=9, **(curves or {}))
    return Simulation(space, spec, source, slots=slots, **around)


def story(found: Observed) -> list[Any]:
    """All that a study found, without when and by which road."""
    fields = {"number", "params", "values", "outcome", "curve", "best_epoch", "seed", "epoch", "epochs", "verdicts"}
    return [record.model_dump(include=fields) for record in found.records]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda spec: spec.kind)
def test_every_kind_of_study(space: SearchSpace, sampler: SamplerSpec, scheduler: SchedulerSpec) -> None:
    trials = 6 if sampler.kind == "gp" else 10
    settled = {"sampler": sampler, "scheduler": scheduler, "trials": trials, "seed": 5}
    found = simulate_mishaps(scene(space, WILD, slots=3, **settled))
    assert_nothing_starves(found, slots=3, trials=trials)
    assert_best_is_monotone(found)
    assert_receipt_adds_up(found, slots=3)
    assert story(simulate_mishaps(scene(space, WILD, slots=3, **settled))) == story(found)


def assert_nothing_starves(found: Observed, slots: int, trials: int) -> None:
    """Whoever was asked for ends, and no slot is free while something is left to start."""
    assert found.finished
    assert sum(record.spends_budget for record in found.records) == trials
    assert all(record.outcome is not None and record.told for record in found.records)
    assert all(bool(record.reason) == (record.outcome is not Outcome.COMPLETE) for record in found.records)
    for point in found.points:
        assert point.running == min(slots, trials - point.ended)


def assert_best_is_monotone(found: Observed) -> None:
    bests = [point.best for point in found.points if point.best is not None]
    assert bests == sorted(bests)
    values = [value for record in found.records for value in record.curve.values()]
    assert found.best == max(values)


def assert_receipt_adds_up(found: Observed, slots: int) -> None:
    assert found.receipt.held == pytest.approx(slots * found.seconds, rel=1e-9)
    parts = found.receipt
    assert min(parts.useful, parts.stopped, parts.failed, parts.overhead) >= 0


@QUICK
@given(seed=seeds, slots=st.integers(1, 5), opening=st.floats(0, 20))
def test_slots_are_never_idle_and_receipts_add_up(space: SearchSpace, seed: int, slots: int, opening: float) -> None:
    found = simulate_mishaps(scene(space, {**WILD, "landscape": seed}, slots, seed=seed, opening=opening, trials=12))
    assert_nothing_starves(found, slots, 12)
    assert_best_is_monotone(found)
    assert_receipt_adds_up(found, slots)


BUDGETS = st.one_of(
    st.builds(Hours, hours=st.floats(0.01, 0.1)),
    st.builds(GpuHours, gpu_hours=st.floats(0.01, 0.1)),
    st.builds(Epochs, epochs=st.integers(1, 80)),
    st.builds(Target, target=st.floats(0.5, 0.9)),
)


@settings(QUICK, max_examples=20)
@given(seed=seeds, slots=st.integers(1, 4), budget=BUDGETS)
def test_no_budget_is_overspent(space: SearchSpace, seed: int, slots: int, budget: Budget) -> None:
    given_ = scene(space, {"noise": 0.02}, slots, seed=seed, trials=30, budget=budget, gpus_per_slot=0.5)
    found = simulate_mishaps(given_)
    reached = moment_reached(found, budget, slots)
    if reached is None:
        assert "all 30 trials" in found.reason
        return
    after: dict[int, int] = {}
    for place, told in enumerate(found.told):
        if told.what == "started":
            # what is told at the very moment may come before the limit was looked at
            assert told.seconds <= reached[1]
        if told.what == "reported" and place > reached[0]:
            after[told.number] = after.get(told.number, 0) + 1
    assert all(count <= 1 for count in after.values()), "more than one report beyond the limit"
    assert len(after) <= slots
    assert found.finished


def moment_reached(found: Observed, budget: Budget, slots: int) -> tuple[int, float] | None:
    """Place among what was told, and moment, when the limit was reached; worked out from the trace alone."""
    curves = {record.number: iter(sorted(record.curve.items())) for record in found.records}
    epochs = 0
    for place, told in enumerate(found.told):
        value = None
        if told.what == "reported":
            epochs += 1
            value = next(curves[told.number])[1]
        match budget:
            case Hours():
                over = told.seconds >= 3600 * budget.hours
            case GpuHours():
                over = told.seconds * slots * 0.5 >= 3600 * budget.gpu_hours
            case Epochs():
                over = epochs >= budget.epochs
            case Target():
                over = value is not None and value >= budget.target
            case _:
                raise AssertionError(budget)
        if over:
            return place, told.seconds
    return None


@QUICK
@given(seed=seeds, disk_retry=st.integers(1, 4), slots=st.integers(1, 3))
def test_no_improvement_ends_a_study(space: SearchSpace, seed: int, disk_retry: int, slots: int) -> None:
    spec: dict[str, Any] = {"seed": seed, "trials": 40, "scheduler": "none", "sampler": "random"}
    found = simulate_mishaps(scene(space, {}, slots, budget=NoImprovement(no_improvement=disk_retry), **spec))
    best, since = None, 0
    for told in found.told:
        if told.what == "started":
            assert since < disk_retry
        if told.what == "ended":
            value = found.records[told.number].best_value
            best, since = (value, 0) if best is None or value > best else (best, since + 1)
    assert since >= disk_retry or len(found.records) == 40
    assert all(record.outcome is Outcome.COMPLETE for record in found.records)


@settings(QUICK, max_examples=15)
@given(seed=seeds, deaths=st.lists(st.integers(0, 60), max_size=5), kind=st.sampled_from(["asha", "median", "none"]))
def test_a_driver_that_dies_changes_nothing(
    space: SearchSpace, tmp_path_factory: pytest.TempPathFactory, seed: int, deaths: list[int], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("studies") / "study"
    spec: dict[str, Any] = {"seed": seed, "trials": 8, "scheduler": kind}
    undisturbed = simulate_mishaps(scene(space, WILD, 1, **spec))
    found, driven = simulate_deaths(scene(space, WILD, 1, **spec), folder, deaths)
    assert story(found) == story(undisturbed)
    assert found.reason == undisturbed.reason
    # an epoch that was being trained is trained again, and nothing else
    assert undisturbed.epochs <= found.epochs <= undisturbed.epochs + len(deaths)
    longest = 2 * 10 * 1.5 + 2
    assert driven - longest * len(deaths) - 1e-6 <= found.receipt.held <= driven + 1e-6


@settings(QUICK, max_examples=10)
@given(seed=seeds, deaths=st.lists(st.integers(0, 40), max_size=4), slots=st.integers(2, 4))
def test_a_concurrent_study_survives_its_drivers(
    space: SearchSpace, tmp_path_factory: pytest.TempPathFactory, seed: int, deaths: list[int], slots: int
) -> None:
    folder = tmp_path_factory.mktemp("studies") / "study"
    found, _ = simulate_deaths(scene(space, WILD, slots, seed=seed), folder, deaths)
    assert_best_is_monotone(found)
    assert sum(record.spends_budget for record in found.records) == 10
    assert all(record.told for record in found.records)
    ends = [told.number for told in found.told if told.what == "ended"]
    assert set(ends) == {record.number for record in found.records}


@QUICK
@given(seed=seeds, at=st.floats(0, 300), lost=st.integers(1, 3), away=st.floats(0, 500))
def test_a_lost_node_costs_its_trials_an_attempt(
    space: SearchSpace, tmp_path_factory: pytest.TempPathFactory, seed: int, at: float, lost: int, away: float
) -> None:
    given_ = scene(space, {"noise": 0.01}, 3, seed=seed, scheduler="none")
    found = simulate_losses(given_, tmp_path_factory.mktemp("studies"), NodeLoss(at, lost, away))
    assert found.finished
    assert all(record.outcome is Outcome.COMPLETE for record in found.records)
    assert sum(record.crashes for record in found.records) <= lost
    assert found.receipt.held == pytest.approx(3 * found.seconds, rel=1e-9)


@settings(QUICK, max_examples=15)
@given(seed=seeds, slots=st.integers(1, 6), grace=st.integers(1, 4), reduction=st.integers(2, 4))
def test_asha_never_stops_the_winner_of_ordered_curves(
    space: SearchSpace, seed: int, slots: int, grace: int, reduction: int
) -> None:
    halving = ASHA(grace=grace, reduction=reduction)
    given_ = scene(space, {"landscape": seed}, slots, seed=seed, trials=20, scheduler=halving, sampler="random")
    found = simulate_mishaps(given_)
    assert isinstance(given_.curves, WildLaw)
    nearest = min(found.records, key=lambda record: given_.curves.distance(record.values))
    assert nearest.outcome is Outcome.COMPLETE
    assert found.points[-1].leader == nearest.number
    assert any(record.outcome is Outcome.STOPPED for record in found.records)


@QUICK
@given(seed=seeds, slots=st.integers(1, 4))
def test_completed_configurations_are_repeated(space: SearchSpace, seed: int, slots: int) -> None:
    spec: dict[str, Any] = {"seed": seed, "repeats": 2, "trials": 14}
    found = simulate_mishaps(scene(space, {"noise": 0.02}, slots, **spec))
    completed = [record for record in found.records if record.outcome is Outcome.COMPLETE]
    groups: dict[int, list[int]] = {}
    for record in completed:
        groups.setdefault(record.configuration, []).append(record.seed)
    assert all(len(set(seeds)) == len(seeds) <= 2 for seeds in groups.values())
    assert len(found.records) == 14


@QUICK
@given(seed=seeds, policy=st.sampled_from(["retry", "infeasible"]))
def test_want_of_memory_never_kills_a_study(space: SearchSpace, seed: int, policy: str) -> None:
    found = simulate_mishaps(scene(space, {"hungry": 0.4}, 2, seed=seed, on_oom=policy, scheduler="none"))
    assert found.finished
    refused = [record for record in found.records if record.outcome is Outcome.INFEASIBLE]
    assert all(record.outcome in (Outcome.COMPLETE, Outcome.INFEASIBLE) for record in found.records)
    assert bool(refused) == (policy == "infeasible" and any(record.crashes for record in found.records))
    assert found.receipt.held == pytest.approx(2 * found.seconds, rel=1e-9)


def test_trials_is_a_budget_too(space: SearchSpace) -> None:
    found = simulate_mishaps(scene(space, trials=None, budget=Trials(trials=4)))
    assert len(found.records) == 4
