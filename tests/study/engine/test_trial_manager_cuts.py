"""Power cuts between any two writes of any study: nothing lost, nothing twice; with one slot nothing changed at all."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fake_plans import MakePlan
from fake_sessions import trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_driver import PowerCut, run_inline

from study.engine.ledger import Ledger, open_ledger, read_ledger
from study.engine.limits import RunContext
from study.engine.meter import Meter
from study.engine.trial_manager import TrialManager
from study.forecast.simulated_driver import FakeClock
from study.record.metrics_file import MetricsFile, read_metrics
from study.record.trial_record import TrialRecord, leaders
from study.run.driver import StudyPlan
from study.spec.outcome import EpochReport, Outcome
from study.workers.trial_folder import TrialFolder

NAMES = itertools.count()
"""Every example of a property is a study of its own."""

MIXED = {
    "mode": {"choice": ["good", "nan", "raise_once", "raise", "greedy", "infeasible"]},
    "quality": {"float": [0.1, 1.0]},
}
PBT = {"kind": "pbt", "every": 1, "share": 0.5, "perturb": ["quality"], "resample": 0.0}
STUDIES: dict[str, dict[str, Any]] = {
    "asha": {"grace": 1, "reduction": 2, "trials": 8},
    "median": {"scheduler": {"kind": "median", "grace": 1, "least": 2}, "trials": 8},
    "repeats": {"grace": 1, "reduction": 2, "trials": 8, "repeats": 3},
    "epochs": {"scheduler": "none", "trials": None, "budget": {"epochs": 17}},
    "target": {"scheduler": "none", "trials": 8, "budget": {"target": 0.6}, "base": {"epochs": 5}},
    "patience": {"scheduler": "none", "trials": None, "budget": {"no_improvement": 3}},
    "grid": {"scheduler": "none", "trials": 50, "sampler": {"kind": "grid", "steps": 2}, "repeats": 2},
    "failures": {"space": MIXED, "grace": 1, "reduction": 2, "trials": 7, "repeats": 2, "max_attempts": 2, "seed": 3},
}


class Fuse:
    """Raises PowerCut at the n-th moment: a turn, a message to a witness, before and after each write."""

    def __init__(self, after: int) -> None:
        self.after, self.moments = after, 0

    def tick(self, _: TrialManager | None = None) -> None:
        self.moments += 1
        if self.moments > self.after:
            raise PowerCut

    def started(self, record: TrialRecord) -> None:
        self.tick()

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        self.tick()

    def ended(self, record: TrialRecord) -> None:
        self.tick()

    @contextmanager
    def in_writes(self) -> Iterator[None]:
        """Moments around everything that the director writes."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((Ledger, "_write"), (TrialFolder, "stage"), (TrialFolder, "adopt")):
                self._surround(patch, owner, name)
            yield

    def _surround(self, patch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        real = getattr(owner, name)

        def surrounded(itself: Any, *args: Any, **named: Any) -> Any:
            self.tick()
            answer = real(itself, *args, **named)
            self.tick()
            return answer

        patch.setattr(owner, name, surrounded)


def run_with_cuts(plan: StudyPlan, cuts: list[int], slots: int) -> tuple[TrialManager, int]:
    """Run, cut and continue; the last run is left alone. Returns its director and how many moments it had."""
    finished: dict[int, TrialRecord] = {}
    for after in [*cuts, 10**9]:
        fuse = Fuse(after)
        with suppress(PowerCut), fuse.in_writes():
            manager = run_inline(plan, slots, [fuse], fuse.tick, largest_share=4.0, clock=FakeClock())
        if not (plan.folder / "journal.log").is_file():
            continue
        try:
            records = read_ledger(plan.folder).records()
        except Exception:
            assert after < 4, "only a study that was never begun cannot be read"
            continue
        assert [record.number for record in records] == list(range(len(records)))
        for number, before in finished.items():
            assert records[number] == before, "a finished trial changed"
        finished = {record.number: record for record in records if record.outcome and record.told}
    assert manager.finished
    assert manager.fatal is None
    return manager, fuse.moments


def story(plan: StudyPlan) -> list[dict[str, Any]]:
    """What a study is, without the times of day."""
    kept = {"started", "ended", "seconds", "held", "told"}
    told = []
    for record in read_ledger(plan.folder).records():
        row = record.model_dump(mode="json", exclude=kept)
        row["vector"].pop("trial/seconds", None)
        row["metrics"] = read_metrics(plan.folder, record.number)
        row["best"] = (plan.folder / "trials" / f"{record.number:04d}" / "best").is_dir()
        told.append(row)
    return told


CUTS = st.lists(st.floats(0, 1), min_size=1, max_size=4)
"""Each as a share of the moments that an undisturbed study has."""

Undisturbed = dict[str, tuple[list[dict[str, Any]], int]]


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    """Story and number of moments, by kind of study; filled by who needs it first."""
    return {}


def fresh(make_plan: MakePlan, kind: str) -> StudyPlan:
    return make_plan(name=f"study{next(NAMES)}", **{"sampler": "random", **STUDIES[kind]})


def same_story(make_plan: MakePlan, undisturbed: Undisturbed, kind: str, cuts: list[float]) -> None:
    if kind not in undisturbed:
        plan = fresh(make_plan, kind)
        _, moments = run_with_cuts(plan, [], slots=1)
        undisturbed[kind] = (story(plan), moments)
    expected, moments = undisturbed[kind]
    plan = fresh(make_plan, kind)
    run_with_cuts(plan, [int(cut * moments) for cut in cuts], slots=1)
    assert story(plan) == expected


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", STUDIES)
@given(cuts=CUTS)
def test_one_slot_tells_the_same_story(
    make_plan: MakePlan, undisturbed: Undisturbed, kind: str, cuts: list[float]
) -> None:
    same_story(make_plan, undisturbed, kind, cuts)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES)
def test_one_slot_tells_the_same_story_whenever_it_is_cut(
    make_plan: MakePlan, undisturbed: Undisturbed, kind: str
) -> None:
    same_story(make_plan, undisturbed, kind, [])
    moments = undisturbed[kind][1]
    for moment in range(moments):
        same_story(make_plan, undisturbed, kind, [(moment + 0.5) / moments])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", ["asha", "repeats", "failures", "epochs"])
@given(cuts=CUTS, slots=st.integers(2, 3))
def test_several_slots_lose_nothing(make_plan: MakePlan, kind: str, cuts: list[float], slots: int) -> None:
    plan = fresh(make_plan, kind)
    manager, _ = run_with_cuts(plan, [int(cut * 150) for cut in cuts], slots)
    records = read_ledger(plan.folder).records()
    assert all(record.outcome is not None and record.told for record in records)
    if plan.spec.trials:
        assert sum(record.spends_budget for record in records) == plan.spec.trials
    again = TrialManager(manager.ledger, plan.space, manager.context, [])
    assert again.finished
    assert again._counters.usage(0, 0) == manager._counters.usage(0, 0), "counted as it happened, or from the ledger"
    for record in records:
        epochs = [epoch for number, epoch in trained(plan.folder) if number == record.number]
        assert sorted(set(epochs)) == list(range(1, len(set(epochs)) + 1))
        # trained twice is only what a cut or a crash took away
        assert len(epochs) - len(set(epochs)) <= len(cuts) + record.crashes + 1
        told = read_metrics(plan.folder, record.number).get("val/probe", {})
        assert record.curve == told or record.outcome is Outcome.DIVERGED
    kept = {int(path.parent.name) for path in plan.folder.glob("trials/*/best")}
    assert {record.number for record in leaders(records, "maximize", plan.spec.top_k)} <= kept


def test_an_epoch_that_is_told_again_took_its_time_once(make_plan: MakePlan) -> None:
    plan = make_plan(trials=1, scheduler="none")
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    clock = FakeClock()
    context = RunContext(plan.folder, 1, None, Meter(clock, 1, 0.0, ledger))
    report = EpochReport(number=0, epoch=1, epochs=3, metrics={"val/probe": 0.5}, seconds=10.0)
    manager = TrialManager(ledger, plan.space, context, [Fuse(1)])
    assert manager.next_request() is not None
    with pytest.raises(PowerCut):
        manager.on_report(report)
    assert ledger.record(0).seconds == 10
    manager = TrialManager(ledger, plan.space, context, [MetricsFile(plan.folder)])
    request = manager.next_request()
    assert request is not None
    assert request.reported_epoch == 0, "the witnesses have not heard of the epoch"
    assert manager.on_report(report)
    assert ledger.record(0).seconds == 10
    assert manager.on_report(report.model_copy(update={"epoch": 2}))
    assert ledger.record(0).seconds == 20
    again = TrialManager(ledger, plan.space, context, []).next_request()
    assert again is not None
    assert again.reported_epoch == 2, "everybody has heard of it"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=CUTS)
def test_a_population_survives(make_plan: MakePlan, cuts: list[float]) -> None:
    plan = make_plan(name=f"study{next(NAMES)}", trials=6, base={"epochs": 5}, scheduler=PBT, sampler="random")
    run_with_cuts(plan, [int(cut * 150) for cut in cuts], slots=4)
    records = read_ledger(plan.folder).records()
    assert Counter(record.outcome for record in records) == {Outcome.COMPLETE: 6}
    for record in records:
        assert record.curve[5] == pytest.approx((record.values or {})["quality"]), "its last values were not in force"
        if record.verdicts:
            assert record.values == record.verdicts[-1].values
        rungs = [verdict.rung for verdict in record.verdicts]
        assert rungs == sorted(set(rungs)), "one comparison, one verdict"
        assert not list((plan.folder / "trials" / f"{record.number:04d}").glob(".adopted*"))
