"""Budgets, repeats, several objectives, memory, confirmations and populations, in whole studies without Ray."""

import itertools
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fake_plans import MakePlan
from fake_sessions import FakeConfig, FakeSession, OpenFake, trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_driver import PowerCut, run_inline

from ssl_core.errors import ConfigError, InfeasibleError, StudyError
from study.engine.ledger import read_ledger
from study.engine.trial_manager import TrialManager
from study.forecast.simulated_driver import FakeClock
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord, leaders
from study.run.driver import StudyPlan
from study.spec.budget import Epochs, GpuHours, Hours, Target
from study.spec.outcome import Outcome
from study.spec.study_spec import StudySpec, study_spec
from study.spec.trial_request import TrialRequest

PBT = {"kind": "pbt", "every": 2, "share": 0.25, "perturb": ["quality"], "resample": 0.0}

NAMES = itertools.count()
"""Every example of a property is a study of its own."""


def records_of(plan: StudyPlan) -> list[TrialRecord]:
    return read_ledger(plan.folder).records()


class Costly(FakeSession):
    """Reports what it costs as well: more with each epoch, so that the best epoch can be told."""

    def run_epoch(self) -> Mapping[str, float]:
        metrics = super().run_epoch()
        noise = 0.5 if self.epoch == self.epochs else 0.0  # the last epoch is not the best
        cost = {"cost/parameters": 10.0 * self.epoch, "val/other": float(self.epoch), "train/extra": 1.0}
        return {**metrics, "val/probe": metrics["val/probe"] - noise, **cost}


class OpenCostly(OpenFake):
    def __call__(self, request: TrialRequest) -> Costly:
        return Costly(request, self.base)


def costly(plan: StudyPlan) -> StudyPlan:
    base = plan.space.base_config
    assert isinstance(base, FakeConfig)
    return replace(plan, open_session=OpenCostly(base))


# ---- budgets


class Hourly:
    """Lets an hour pass with every turn, and counts the reports after the limit."""

    def __init__(self) -> None:
        self.clock = FakeClock()

    def turn(self, manager: TrialManager) -> None:
        self.clock.advance_to(self.clock.elapsed + 3600)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slots=st.integers(1, 4), limit=st.integers(1, 30), kind=st.sampled_from(["epochs", "hours"]))
def test_no_more_than_one_report_per_running_trial_beyond_a_limit(
    make_plan: MakePlan, slots: int, limit: int, kind: str
) -> None:
    budget = Epochs(epochs=limit) if kind == "epochs" else Hours(hours=limit)
    plan = make_plan(
        name=f"study{next(NAMES)}", trials=None, budget=budget, scheduler="none", sampler="random", base={"epochs": 5}
    )
    hourly = Hourly()
    manager = run_inline(plan, slots, each_turn=hourly.turn, clock=hourly.clock)
    assert manager.finished
    assert limit <= len(trained(plan.folder)) <= limit + slots
    records = records_of(plan)
    assert all(record.outcome in (Outcome.COMPLETE, Outcome.STOPPED) for record in records)
    words = f"{limit} epochs are trained" if kind == "epochs" else f"{limit} hours are over"
    assert manager.stop_reason == words
    for record in records:
        if record.outcome is Outcome.STOPPED:
            assert record.reason == words
            assert record.epoch < record.epochs
            assert not record.verdicts


def test_a_target_ends_what_runs_and_a_limit_lets_it_finish(make_plan: MakePlan) -> None:
    plan = make_plan(trials=20, budget=Target(target=0.4), scheduler="none", base={"epochs": 8})
    manager = run_inline(plan)
    records = records_of(plan)
    assert "the target 0.4 is reached" in (manager.stop_reason or "")
    assert len(records) < 20
    assert max(record.best_value or 0 for record in records) >= 0.4
    assert any(record.outcome is Outcome.STOPPED for record in records)
    plan = make_plan(trials=3, name="finish", scheduler="none")
    assert run_inline(plan).stop_reason == "all 3 trials are done"
    assert {record.outcome for record in records_of(plan)} == {Outcome.COMPLETE}


def test_no_improvement_counts_finished_trials(make_plan: MakePlan) -> None:
    budget = {"no_improvement": 4}
    plan = make_plan(trials=None, budget=budget, scheduler="none", sampler="random")
    manager = run_inline(plan, slots=1)
    values = [record.best_value or 0.0 for record in records_of(plan)]
    assert manager.stop_reason == "4 trials in a row brought no new best"
    assert len(values) - 1 - values.index(max(values)) == 4
    for end in range(5, len(values)):
        assert max(values[end - 4 : end]) >= max(values[:end]), "it should have ended before"


def test_what_was_spent_before_an_interruption_counts(make_plan: MakePlan) -> None:
    plan = make_plan(trials=None, budget=Hours(hours=10), scheduler="none", base={"epochs": 4})
    for hours in (4, 100):
        hourly, start = Hourly(), 0.0

        def turn(manager: TrialManager, hourly: Hourly = hourly, hours: int = hours, start: float = start) -> None:
            hourly.turn(manager)
            if hourly.clock.elapsed - start >= 3600 * hours:
                manager.on_fatal(StudyError("interrupted"))

        manager = run_inline(plan, slots=1, each_turn=turn, clock=hourly.clock)
    assert manager.stop_reason == "10 hours are over"
    assert len(trained(plan.folder)) == 10
    again = run_inline(plan, slots=1, clock=FakeClock())
    assert again.finished
    assert len(trained(plan.folder)) == 10


def test_a_trial_that_turns_out_infeasible_is_replaced(make_plan: MakePlan) -> None:
    space = {"mode": {"choice": ["good", "infeasible"]}, "quality": {"float": [0.1, 1.0]}}
    plan = make_plan(space, trials=5, scheduler="none", sampler="random", seed=3)
    run_inline(plan, slots=3)
    counts = Counter(record.outcome for record in records_of(plan))
    assert counts[Outcome.COMPLETE] == 5
    assert counts[Outcome.INFEASIBLE] > 0


def test_no_feasible_point_stays_so_when_the_study_is_started_again(make_plan: MakePlan) -> None:
    def check(values: Mapping[str, Any]) -> None:
        raise InfeasibleError("the pack has no images; pack them")

    plan = replace(make_plan(max_refused=4), check=check)
    for _ in range(2):
        manager = run_inline(plan)
        assert manager.stop_reason == (
            "no feasible point: 4 configurations in a row were refused, the last: the pack has no images; pack them"
        )
        assert len(records_of(plan)) == 4
    assert run_inline(replace(plan, spec=plan.spec.model_copy(update={"max_refused": 6}))).finished
    assert len(records_of(plan)) == 6


def test_a_grid_ends_with_its_last_point(make_plan: MakePlan) -> None:
    space = {"quality": {"choice": [0.2, 0.5, 0.9]}, "epochs": {"choice": [2, 3]}}
    plan = make_plan(space, trials=50, scheduler="none", sampler="grid", first_is_base=False, repeats=2)
    for _ in range(2):
        manager = run_inline(plan)
        assert manager.stop_reason
        assert "6" in manager.stop_reason
        assert len(records_of(plan)) == 12
    counts = Counter(tuple(sorted((record.values or {}).items())) for record in records_of(plan))
    assert set(counts.values()) == {2}


@pytest.mark.parametrize(
    "section",
    [
        {"trials": 0},
        {"hours": -1},
        {"hours": float("nan")},
        {"hours": float("inf")},
        {"budget": {"epochs": 0}},
        {"budget": {"gpu_hours": 0}},
        {"budget": {"target": float("nan")}},
        {"repeats": 0},
        {"repeats": 2, "scheduler": PBT},
        {"objectives": [{"metric": "trial/minutes"}]},
        {"constraints": [{"metric": "trial/hours", "at_most": 1}]},
    ],
)
def test_a_study_of_nothing_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        study_spec(section)


def test_gpu_hours_are_asked_of_the_meter(make_plan: MakePlan) -> None:
    plan = make_plan(trials=2, budget=GpuHours(gpu_hours=0.001), scheduler="none")
    assert run_inline(plan).stop_reason == "all 2 trials are done"


# ---- repeats


def test_repeats_follow_a_configuration_that_completed(make_plan: MakePlan) -> None:
    plan = make_plan(trials=12, repeats=3, grace=1, reduction=2, base={"epochs": 4}, sampler="random")
    run_inline(plan, slots=1)
    records = records_of(plan)
    assert len(records) == 12
    groups: dict[int, list[TrialRecord]] = {}
    for record in records:
        groups.setdefault(record.configuration, []).append(record)
    for number, group in groups.items():
        assert [record.repeat for record in group] == list(range(len(group)))
        assert len({str(record.values) for record in group}) == 1
        assert len({record.seed for record in group}) == len(group)
        if group[0].outcome is not Outcome.COMPLETE:
            assert len(group) == 1
        elif number + 3 <= 12:
            # right after it, before anything new
            assert [record.number for record in group] == [number, number + 1, number + 2]
    assert any(len(group) == 3 for group in groups.values())
    assert any(len(group) == 1 for group in groups.values())


class ByLuck(FakeSession):
    """A value that depends on the seed more than on the configuration."""

    def run_epoch(self) -> Mapping[str, float]:
        metrics = super().run_epoch()
        luck = (self.request.seed * 7919 % 13) / 13
        return {**metrics, "val/probe": round(metrics["val/probe"] + luck, 2)}


class OpenByLuck(OpenFake):
    def __call__(self, request: TrialRequest) -> ByLuck:
        return ByLuck(request, self.base)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(repeats=st.integers(1, 3), top_k=st.integers(1, 3), slots=st.integers(1, 3), seed=st.integers(0, 50),
       direction=st.sampled_from(["maximize", "minimize"]))  # fmt: skip
def test_checkpoints_stay_for_the_best_configurations(
    make_plan: MakePlan, repeats: int, top_k: int, slots: int, seed: int, direction: str
) -> None:
    asked = {"repeats": repeats, "top_k": top_k, "seed": seed, "direction": direction, "sampler": "random"}
    plan = make_plan(name=f"study{next(NAMES)}", trials=9, grace=1, reduction=2, base={"epochs": 3}, **asked)
    plan = replace(plan, open_session=OpenByLuck(FakeConfig(epochs=3)))
    run_inline(plan, slots=slots)
    records = records_of(plan)
    kept = {int(path.parent.name) for path in plan.folder.glob("trials/*/best")}
    best = {record.number for record in leaders(records, direction, top_k)}
    assert best <= kept
    unsettled = {
        configuration
        for configuration, count in Counter(record.configuration for record in records).items()
        if records[configuration].outcome is Outcome.COMPLETE and count < repeats
    }
    settled = [record for record in records if record.configuration not in unsettled]
    expected = {record.number for record in leaders(settled, direction, top_k)}
    assert {number for number in kept if records[number].configuration not in unsettled} == expected
    run_inline(plan)
    assert {int(path.parent.name) for path in plan.folder.glob("trials/*/best")} == kept


def test_a_mean_beats_a_lucky_trial() -> None:
    def one(number: int, configuration: int, value: float) -> TrialRecord:
        return TrialRecord(number=number, configuration=configuration, repeat=number - configuration,
                           outcome=Outcome.COMPLETE, best_value=value, best_epoch=1)  # fmt: skip

    records = [one(0, 0, 0.9), one(1, 0, 0.1), one(2, 2, 0.6), one(3, 2, 0.7)]
    assert [record.number for record in leaders(records, "maximize", 2)] == [3, 0]
    assert [record.number for record in leaders(records, "minimize", 2)] == [1, 2]


# ---- objectives and constraints


def test_the_vector_is_that_of_the_best_epoch(make_plan: MakePlan) -> None:
    spec = {
        "objectives": [{"metric": "val/probe"}, {"metric": "val/other", "direction": "minimize"}],
        "constraints": [{"metric": "trial/epochs", "at_most": 9}],
    }
    plan = costly(make_plan(trials=3, scheduler="none", base={"epochs": 4}, **spec))
    run_inline(plan)
    for record in records_of(plan):
        assert record.outcome is Outcome.COMPLETE
        assert record.best_epoch == 3
        value = pytest.approx(record.best_value)
        assert record.vector.pop("trial/seconds") == record.seconds
        assert record.vector == {"val/probe": value, "val/other": 3, "cost/parameters": 30, "trial/epochs": 4}


def test_the_vector_survives_an_interruption(make_plan: MakePlan) -> None:
    plan = costly(make_plan(trials=1, scheduler="none", base={"epochs": 4}))
    turns = iter(range(99))

    def stop(manager: TrialManager) -> None:
        if next(turns) == 3:
            raise PowerCut

    with suppress(PowerCut):
        run_inline(plan, each_turn=stop)
    assert records_of(plan)[0].outcome is None
    run_inline(plan)
    assert records_of(plan)[0].vector["cost/parameters"] == 30


@pytest.mark.parametrize("section", ["objectives", "constraints"])
def test_a_metric_that_no_trial_reports_ends_the_study(make_plan: MakePlan, section: str) -> None:
    entry = {"metric": "val/paces"} | ({"at_most": 1.0} if section == "constraints" else {})
    manager = run_inline(make_plan(**{section: [entry]}))
    assert isinstance(manager.fatal, StudyError)
    assert f"no metric 'val/paces', which study.{section} names" in str(manager.fatal)
    assert "train/loss, val/probe, trial/seconds" in str(manager.fatal)


# ---- memory


def test_out_of_memory_is_answered_by_a_larger_share_until_there_is_none(make_plan: MakePlan) -> None:
    plan = make_plan(base={"mode": "greedy"}, trials=2, scheduler="none", max_attempts=1)
    run_inline(plan, slots=4, largest_share=4.0)
    for record in records_of(plan):
        assert (record.outcome, record.crashes, record.share) == (Outcome.COMPLETE, 2, 4.0)
    # the second epoch was tried three times, the first once
    assert Counter(epoch for number, epoch in trained(plan.folder) if number == 0) == {1: 1, 2: 3, 3: 1, 4: 1}
    small = make_plan(name="small", base={"mode": "greedy"}, trials=1, max_refused=1)
    run_inline(small, largest_share=3.0)
    (record,) = records_of(small)
    assert record.outcome is Outcome.INFEASIBLE
    assert record.reason.startswith("out of memory with 3 times the usual share, the most there is: MemoryError")
    never = make_plan(name="never", base={"mode": "greedy"}, trials=1, max_refused=1, on_oom="infeasible")
    run_inline(never, largest_share=4.0)
    (record,) = records_of(never)
    assert (record.outcome, record.crashes) == (Outcome.INFEASIBLE, 1)


def test_a_larger_share_takes_the_room_of_others(make_plan: MakePlan) -> None:
    space = {"mode": {"choice": ["good", "greedy"]}, "quality": {"float": [0.1, 1.0]}}
    plan = make_plan(space, trials=8, scheduler="none", sampler="random", seed=2)
    seen: list[float] = []

    def room(manager: TrialManager) -> None:
        seen.append(sum(record.share for record in manager.live.values()))

    run_inline(plan, slots=4, each_turn=room, largest_share=4.0)
    assert {record.outcome for record in records_of(plan)} == {Outcome.COMPLETE}
    assert {record.share for record in records_of(plan)} == {1.0, 4.0}
    assert max(seen) <= 4


# ---- populations


@pytest.mark.parametrize("slots", [1, 8])
def test_a_population_learns_from_its_best(make_plan: MakePlan, slots: int) -> None:
    plan = make_plan(trials=12, base={"epochs": 8}, scheduler=PBT, sampler="random")
    run_inline(plan, slots=slots)
    records = records_of(plan)
    assert {record.outcome for record in records} == {Outcome.COMPLETE}
    taken = [record for record in records if record.verdicts]
    assert bool(taken) == (slots > 1), "trials one after the other find no donor alive"
    for record in taken:
        before = dict(record.params)
        for verdict in record.verdicts:
            assert verdict.action == "exploit"
            assert verdict.donor is not None
            assert records[verdict.donor].curve[verdict.rung] > verdict.value
            assert 0.1 <= verdict.values["quality"] <= 1.0
        assert record.values == record.verdicts[-1].values != before
        epochs = list(record.curve)
        assert epochs == sorted(epochs)
        assert epochs[-1] == 8
        # what it skipped is what the donor had trained for it
        own = [epoch for number, epoch in trained(plan.folder) if number == record.number]
        assert own == epochs
        assert record.curve[8] == pytest.approx(record.values["quality"])
        assert not list((plan.folder / "trials" / f"{record.number:04d}").glob(".adopted*"))
        assert read_metrics(plan.folder, record.number)["val/probe"] == record.curve


# ---- confirmations


def test_trials_that_confirm_come_last_and_lead_nothing(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = [{"quality": 0.99}, {"quality": 0.98}]

    def missing(space: Any, spec: StudySpec, records: list[TrialRecord]) -> list[dict[str, Any]]:
        have = [record.values for record in records if record.confirms]
        return [arm for arm in arms if arm not in have]

    monkeypatch.setattr("study.engine.trial_queue.confirmations", missing)
    plan = make_plan(trials=4, confirm_features=True, scheduler="none", base={"epochs": 3})
    for _ in range(2):
        manager = run_inline(plan)
        assert manager.stop_reason == "all 4 trials are done"
        records = records_of(plan)
        assert [record.confirms for record in records] == [False] * 4 + [True] * 2
    last_searched = max(i for i, (number, _) in enumerate(trained(plan.folder)) if number < 4)
    assert all(number >= 4 for number, _ in trained(plan.folder)[last_searched + 1 :])
    assert all(record.number < 4 for record in leaders(records, "maximize", 9))
    assert not list(plan.folder.glob("trials/000[45]/best"))
    spent = make_plan(name="spent", trials=None, budget=Epochs(epochs=6), confirm_features=True, scheduler="none")
    run_inline(spent)
    assert not any(record.confirms for record in records_of(spent)), "what is used up is not used for confirmations"
    reached = make_plan(name="reached", budget=Target(target=0.3), confirm_features=True, scheduler="none")
    run_inline(reached)
    assert sum(record.confirms for record in records_of(reached)) == 2
