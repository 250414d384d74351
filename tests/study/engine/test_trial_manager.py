"""Whole studies without Ray: outcomes, retries, refusals, pruning, and power cuts at any moment."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_plans import MakePlan
from fake_sessions import trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_driver import PowerCut, run_inline

from ssl_core.errors import InfeasibleError, StorageError, StudyError
from study.engine.ledger import read_ledger
from study.engine.trial_manager import TrialManager
from study.record.metrics_file import read_metrics
from study.record.trial_record import TrialRecord, leaders
from study.schedulers.rules import SuccessiveHalving
from study.spec.outcome import EpochReport, Outcome

MODES = ["good", "nan", "diverge", "raise", "raise_once", "infeasible"]


def outcomes(folder: Path) -> Counter[str]:
    return Counter(record.state for record in read_ledger(folder).records())


def test_every_failure_has_its_outcome_and_the_study_goes_on(make_plan: MakePlan) -> None:
    plan = make_plan({"mode": {"choice": MODES}, "quality": {"float": [0.1, 1.0]}}, trials=24, scheduler="none")
    run_inline(plan)
    records = read_ledger(plan.folder).records()
    assert sum(record.spends_budget for record in records) == 24
    expected = {
        "good": Outcome.COMPLETE,
        "raise_once": Outcome.COMPLETE,
        "nan": Outcome.DIVERGED,
        "diverge": Outcome.DIVERGED,
        "raise": Outcome.CRASHED,
        "infeasible": Outcome.INFEASIBLE,
    }
    seen = {record.params["mode"] for record in records}
    assert seen >= {"good", "nan", "raise"}
    for record in records:
        assert record.outcome is expected[record.params["mode"]]
        assert record.told
        assert bool(record.reason) == (record.outcome is not Outcome.COMPLETE)
        assert record.crashes == {"raise": 2, "raise_once": 1}.get(record.params["mode"], 0)


def test_asha_stops_the_weak_with_a_reason(make_plan: MakePlan) -> None:
    plan = make_plan(trials=12, base={"epochs": 9}, grace=1, reduction=3)
    run_inline(plan)
    stopped = [r for r in read_ledger(plan.folder).records() if r.outcome is Outcome.STOPPED]
    assert stopped
    assert all(record.epoch in (1, 3) and "ASHA rung" in record.reason for record in stopped)
    best = leaders(read_ledger(plan.folder).records(), "maximize", 1)[0]
    qualities = [r.values["quality"] for r in read_ledger(plan.folder).records() if r.values]
    assert best.outcome is Outcome.COMPLETE
    assert best.best_value == pytest.approx(max(qualities))


def test_checkpoints_stay_for_the_best_only(make_plan: MakePlan) -> None:
    plan = make_plan(trials=7, top_k=2, scheduler="none")
    run_inline(plan)
    kept = {int(path.parent.name) for path in plan.folder.glob("trials/*/best")}
    by_quality = sorted(read_ledger(plan.folder).records(), key=lambda r: -(r.best_value or 0))
    assert kept == {record.number for record in by_quality[:2]}
    assert not list(plan.folder.glob("trials/*/last"))
    assert read_metrics(plan.folder, 0)["train/loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3, 4: 0.25})


def test_refused_configurations_cost_no_session_and_no_budget(make_plan: MakePlan) -> None:
    plan = make_plan(trials=3)

    def check(values: Any) -> None:
        if values["quality"] > 0.45:
            raise InfeasibleError("quality above what the pack can serve; lower it")

    run_inline(plan.__class__(**{**plan.__dict__, "check": check}))
    records = read_ledger(plan.folder).records()
    refused = {record.number for record in records if record.outcome is Outcome.INFEASIBLE}
    assert refused
    assert len(records) - len(refused) == 3
    assert refused.isdisjoint(number for number, _ in trained(plan.folder))


def test_a_space_that_is_refused_everywhere_ends(make_plan: MakePlan) -> None:
    plan = make_plan({"mode": {"choice": ["infeasible"]}, "quality": {"float": [0.1, 1.0]}}, max_refused=5)
    manager = run_inline(plan)
    assert manager.stop_reason is not None
    assert "configurations in a row were refused" in manager.stop_reason
    assert 5 <= len(read_ledger(plan.folder).records()) <= 6


def test_a_full_disk_leaves_a_study_to_continue(make_plan: MakePlan) -> None:
    plan = make_plan(base={"mode": "full"}, scheduler="none")
    manager = run_inline(plan)
    assert isinstance(manager.fatal, StorageError)
    assert outcomes(plan.folder)["UNFINISHED"] >= 1
    assert set(outcomes(plan.folder)) == {"UNFINISHED"}


def test_a_missing_objective_ends_the_study_at_once(make_plan: MakePlan) -> None:
    manager = run_inline(make_plan(metric="val/other"))
    assert isinstance(manager.fatal, StudyError)
    assert "val/probe" in str(manager.fatal)


class CutAfter:
    """Raises PowerCut at the n-th thing that is told to witnesses or asked in a turn."""

    def __init__(self, after: int) -> None:
        self.left = after

    def tick(self, _: TrialManager | None = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCut

    def started(self, record: TrialRecord) -> None:
        self.tick()

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        self.tick()

    def ended(self, record: TrialRecord) -> None:
        self.tick()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 30), min_size=1, max_size=4), name=st.uuids())
def test_power_cuts_at_any_moment(make_plan: MakePlan, cuts: list[int], name: Any) -> None:
    space = {"mode": {"choice": ["good", "nan", "raise_once"]}, "quality": {"float": [0.1, 1.0]}}
    plan = make_plan(space, name=str(name), trials=6, grace=1)
    finished: dict[int, TrialRecord] = {}
    for after in [*cuts, None]:
        cut = CutAfter(10**9 if after is None else after)
        with suppress(PowerCut):
            manager = run_inline(plan, callbacks=[cut], each_turn=cut.tick)
        records = read_ledger(plan.folder).records()
        assert [record.number for record in records] == list(range(len(records)))
        for number, before in finished.items():
            assert records[number] == before, "a finished trial changed"
        finished = {record.number: record for record in records if record.outcome and record.told}
    assert len(finished) == 6
    assert manager.finished
    for record in finished.values():
        # nothing is trained twice but the epoch a crash or cut took away
        epochs = [epoch for number, epoch in trained(plan.folder) if number == record.number]
        assert sorted(set(epochs)) == list(range(1, max(epochs) + 1))
        assert len(epochs) - len(set(epochs)) <= len(cuts) + 1
    rule = manager.rule
    assert isinstance(rule, SuccessiveHalving)
    rungs = {epoch: dict(rung.values) for epoch, rung in rule.rungs.items()}
    rule.rebuild((record.number, record.curve) for record in finished.values())
    assert {epoch: dict(rung.values) for epoch, rung in rule.rungs.items()} == rungs


def test_trials_can_be_added_later(make_plan: MakePlan) -> None:
    run_inline(make_plan(trials=2))
    run_inline(make_plan(trials=5))
    plan = make_plan(trials=5)
    assert len(read_ledger(plan.folder).records()) == 5
    assert [number for number, epoch in trained(plan.folder) if epoch == 1] == [0, 1, 2, 3, 4]
