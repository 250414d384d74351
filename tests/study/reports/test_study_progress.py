"""The live view: counts, budget, rungs and estimates from single events, on a terminal and in a log."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_plans import MakePlan
from inline_driver import run_inline
from rich.console import Console
from study_records import CONFIRMS, record, stop

from ssl_core.training.stage_progress import StageProgress
from study.analysis.fidelity import RungSummary
from study.engine.ledger import Ledger, open_ledger, read_ledger
from study.engine.meter import Meter
from study.record.trial_record import Origin, TrialRecord
from study.reports.live_state import LiveState, UsagePace, budget_use, seconds_left
from study.reports.study_progress import Progress, panel
from study.spec.budget import AllOf, AnyOf, Epochs, GpuHours, Hours, NoImprovement, Target, Trials, Usage
from study.spec.outcome import EpochReport, Outcome

EPOCHS = 10


class FakeClock:
    """Told what time it is."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def empty(make_plan: MakePlan, **spec: Any) -> Ledger:
    plan = make_plan(**spec)
    return open_ledger(plan.folder, plan.identity, plan.spec, plan.space)


def text_of(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def run(
    view: Progress | LiveState, clock: FakeClock, number: int, upto: int, end: Outcome | None = None, **more: Any
) -> None:
    """A trial that takes two seconds per epoch and reports a tenth more each."""
    now: TrialRecord = record(number, {}, outcome=None, epochs=EPOCHS, **more)
    view.started(now)
    for epoch in range(1, upto + 1):
        clock.now += 2
        now = record(number, [0.1 * e for e in range(1, epoch + 1)], outcome=None, **{**more, "epochs": EPOCHS})
        view.reported(
            now, EpochReport(number=number, epoch=epoch, epochs=EPOCHS, seconds=2.0, metrics={"val/probe": 0.1 * epoch})
        )
    if end is not None:
        verdicts = (stop(upto),) if end is Outcome.STOPPED else ()
        view.ended(now.model_copy(update={"outcome": end, "verdicts": verdicts}))


def test_a_log_has_a_line_per_trial_and_a_summary_now_and_then(make_plan: MakePlan, clock: FakeClock) -> None:
    console = Console(file=io.StringIO(), width=200)
    progress = Progress(console, empty(make_plan, trials=4), 2, clock=clock)
    with progress:
        assert progress.summary() == "0 of 4 trials · 0 running"
        run(progress, clock, 0, 10, Outcome.COMPLETE)
        run(progress, clock, 1, 5)
        # half an epoch per second; 5 epochs of this trial and 2 more trials of 10
        assert progress.summary() == (
            "1 of 4 trials (1 complete) · 1 running (1: 5/10) · best 1 (trial 0) · 0.5 epochs/s · about 50 s left"
        )
        assert text_of(console).count("trials (") == 1, "thirty seconds are over"
        assert text_of(console).count("\n") == 2, "between summaries only finished trials are printed"
        progress.ended(record(1, [0.1] * 5, outcome=Outcome.STOPPED, reason="too low", verdicts=(stop(5),)))
        assert "STOPPED" in text_of(console)
        clock.now += 30
        progress.tick()
        progress.tick()
        assert text_of(console).count("trials (") == 2


def test_a_study_is_continued_where_it_was(make_plan: MakePlan, clock: FakeClock) -> None:
    plan = make_plan({"quality": {"float": [0.1, 1.0]}, "mode": {"choice": ["good", "nan", "raise"]}}, trials=9)
    run_inline(plan)
    ledger = read_ledger(plan.folder)
    state = LiveState(ledger, 2, clock)
    records = ledger.records()
    assert state.done == 9
    assert sum(state.ends.values()) == len(records)
    assert state.best is not None
    assert state.best.best_value == max(r.best_value or 0 for r in records if r.outcome and r.outcome.has_value)
    assert state.usage().epochs == sum(len(r.curve) for r in records)
    assert state.rungs[2].reached == sum(r.epoch >= 2 for r in records)


def test_events_and_the_ledger_tell_the_same(make_plan: MakePlan, clock: FakeClock) -> None:
    plan = make_plan({"quality": {"float": [0.1, 1.0]}, "mode": {"choice": ["good", "nan", "raise"]}}, trials=12)
    live = LiveState(open_ledger(plan.folder, plan.identity, plan.spec, plan.space), 2, clock)
    run_inline(plan, callbacks=[live])
    read = LiveState(read_ledger(plan.folder), 2, clock)
    assert live.running == {}
    assert live.ends == read.ends
    assert replace(live.usage(), seconds=0.0) == replace(read.usage(), seconds=0.0)
    assert live.rungs == read.rungs
    assert (live.best and live.best.number) == (read.best and read.best.number)


def test_epochs_told_twice_count_once(make_plan: MakePlan, clock: FakeClock) -> None:
    state = LiveState(empty(make_plan), 2, clock)
    run(state, clock, 0, 3)
    again = record(0, [0.1, 0.2, 0.3], outcome=None, epochs=EPOCHS)
    state.started(again)
    state.reported(again, EpochReport(number=0, epoch=2, epochs=EPOCHS, metrics={"val/probe": 0.2}))
    assert state.usage().epochs == 3
    assert state.rungs[2].reached == 1
    assert len(state.reports) == 3


def test_confirmations_are_no_trials_of_the_budget(make_plan: MakePlan, clock: FakeClock) -> None:
    state = LiveState(empty(make_plan), 2, clock)
    run(state, clock, 0, 2, Outcome.COMPLETE)
    run(state, clock, 1, 9, Outcome.COMPLETE, origin=CONFIRMS)
    assert state.done == 1
    assert state.confirmed == 1
    assert state.usage().epochs == 2
    assert state.best is not None
    assert state.best.number == 0


def test_the_panel_shows_budget_trials_and_rungs(make_plan: MakePlan, clock: FakeClock) -> None:
    budget = {"any": [{"gpu_hours": 3}, {"epochs": 100}, {"target": 2.0}, {"no_improvement": 5}]}
    state = LiveState(empty(make_plan, trials=8, hours=4, budget=budget, grace=2), 2, clock)
    run(state, clock, 0, 10, Outcome.COMPLETE)
    run(state, clock, 1, 2, Outcome.STOPPED)
    run(state, clock, 2, 4, values={"loss.beta": 0.5}, origin=Origin(kind="repeat", of=0))
    console = Console(file=io.StringIO(), width=110)
    console.print(panel(state, 30))
    text = text_of(console)
    for part in (
        "2 of 8 trials",
        "of 4 hours",
        "0 of 3 GPU-hours",
        "16 of 100 epochs",
        "target 2: best 1",
        "1 of 5 without a new best",
        "4/10",
        "repeat  beta=0.5",
        "1 complete",
        "1 stopped",
        "best 1 trial 0, epoch 10",
    ):
        assert part in text, part
    assert ["2", "3", "2", "1", "0.5"] in [line.strip("│ ").split() for line in text.splitlines()], "the rung"
    assert max(len(line) for line in text.splitlines()) <= 110


def test_many_running_trials_leave_room(make_plan: MakePlan, clock: FakeClock) -> None:
    state = LiveState(empty(make_plan), 64, clock)
    for number in range(64):
        run(state, clock, number, 1)
    console = Console(file=io.StringIO(), width=80)
    console.print(panel(state, 24))
    text = text_of(console)
    assert text.count("\n") <= 24
    assert "+" in text


def test_a_terminal_is_refreshed_once_a_second(make_plan: MakePlan, clock: FakeClock) -> None:
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True)
    with Progress(console, empty(make_plan), 2, clock=clock) as progress:
        run(progress, clock, 0, 2)
        before = len(text_of(console))
        for _ in range(100):
            progress.tick()
        assert len(text_of(console)) == before
        clock.now += 1
        progress.tick()
        assert len(text_of(console)) > before
        progress.ended(record(0, [0.1, 0.2]))
    assert "COMPLETE" in text_of(console)


def test_a_study_without_a_number_of_trials(make_plan: MakePlan, clock: FakeClock) -> None:
    ledger = empty(make_plan, trials=None, hours=1)
    assert ledger.spec.planned is None
    progress = Progress(Console(file=io.StringIO(), width=120), ledger, 2, clock=clock)
    run(progress, clock, 0, 5, Outcome.COMPLETE)
    assert progress.summary() == (
        "1 trials (1 complete) · 10 s of 1 hours · 0 running · best 0.5 (trial 0) · 0.5 epochs/s · about 59:50 left"
    )


def test_gpu_hours_are_those_of_the_meter(make_plan: MakePlan, clock: FakeClock) -> None:
    ledger = empty(make_plan, budget={"gpu_hours": 1})
    state = LiveState(ledger, 2, clock)
    meter = Meter(clock, 2, 0.5, ledger)
    clock.now += 1800
    meter.tick()
    assert state.usage().gpu_seconds == 0
    state.look()
    assert state.usage().gpu_seconds == 1800
    assert state.usage().seconds == 1800
    assert seconds_left(GpuHours(gpu_hours=1), state.usage(), state.pace()) == 1800


USAGE = Usage(trials=4, seconds=1800, gpu_seconds=3600, epochs=50, since_best=2, best=0.7)
PACE = UsagePace(rate=0.5, under_way=10, running=2, usual=20, gpus=2)


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        (Trials(trials=8), (10 + 2 * 20) / 0.5),
        (Trials(trials=5), 10 / 0.5),
        (Hours(hours=1), 1800.0),
        (GpuHours(gpu_hours=2), 1800.0),
        (Epochs(epochs=100), 100.0),
        (Epochs(epochs=10), 0.0),
        (NoImprovement(no_improvement=5), None),
        (Target(target=0.9), None),
        (AnyOf(any=(Trials(trials=8), Hours(hours=1), Target(target=0.9))), 100.0),
        (AnyOf(any=(Target(target=0.9),)), None),
        (AllOf(all=(Trials(trials=8), Hours(hours=1))), 1800.0),
        (AllOf(all=(Trials(trials=8), Target(target=0.9))), None),
    ],
)
def test_time_left(budget: Any, seconds: float | None) -> None:
    assert seconds_left(budget, USAGE, PACE) == seconds
    if not isinstance(budget, (Hours, NoImprovement, Target, AnyOf, AllOf)):
        assert seconds_left(budget, USAGE, UsagePace()) is None, "unknown before anything is measured"


def test_every_limit_is_listed() -> None:
    budget = AnyOf(any=(Trials(trials=8), AllOf(all=(Hours(hours=1), Target(target=0.9))), GpuHours(gpu_hours=4)))
    uses = budget_use(budget, USAGE)
    assert [(use.name, use.used, use.share) for use in uses] == [
        ("trials", 4, 0.5),
        ("hours", 0.5, 0.5),
        ("target", 0.7, None),
        ("gpu_hours", 1.0, 0.25),
    ]


def test_nothing_grows_with_trials(make_plan: MakePlan, clock: FakeClock, tmp_path: Path) -> None:
    state = LiveState(empty(make_plan, trials=1000), 2, clock)
    for number in range(300):
        run(state, clock, number, 2, Outcome.STOPPED if number % 2 else Outcome.COMPLETE)
    assert len(state.reports) <= 200
    assert not state.running
    assert len(state.rungs) == 1
    assert state.rungs[2] == RungSummary(epoch=2, reached=300, passed=150, stopped=150, bar=0.5)


def test_what_trials_wait_for_is_said_until_they_begin(make_plan: MakePlan, clock: FakeClock) -> None:
    made = [StageProgress(stage="teacher", data_digest="d", done=120, total=240, unit="objects", left=9.2)]
    console = Console(file=io.StringIO(), width=200)
    asked: list[int] = []

    def stages() -> list[StageProgress]:
        asked.append(1)
        return made

    progress = Progress(console, empty(make_plan, trials=4), 2, clock=clock, stages=stages)
    with progress:
        progress.tick()
        assert not asked, "nobody waits"
        for number in (0, 1):
            progress.started(record(number, {}, outcome=None))
        line = "teacher: 120 of 240 objects, about 9 s left; trials 0, 1 wait"
        clock.now += 5
        progress.tick()
        progress.tick()
        assert text_of(console).count(line) == 1
        assert progress.summary() == f"{line} · 0 of 4 trials · 2 running (0: 0/?, 1: 0/?)"
        shown = Console(file=io.StringIO(), width=100)
        shown.print(panel(LiveState(empty(make_plan, trials=4), 2, clock), 24, [line]))
        assert line in text_of(shown)
        run(progress, clock, 0, 1)
        run(progress, clock, 1, 1)
        assert "teacher" not in progress.summary()
