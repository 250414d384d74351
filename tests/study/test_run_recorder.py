"""The recorder against a server that is not there, then there: the ledger's story arrives whole, whatever died."""

import sys
from pathlib import Path

import pytest
from fake_plans import MakePlan
from inline_driver import PowerCut, run_inline

sys.path.append(str(Path(__file__).parents[1] / "registry"))

from memory_server import MemoryServer, Run

from registry.tracking.outbox import waiting
from registry.tracking.run_log import RunLog, open_run_log
from registry.tracking.sender import Sender
from study import run_recorder
from study.direction.director import Director
from study.driver import StudyPlan
from study.ledger import Ledger, open_ledger, read_ledger, study_tags
from study.outcome import EpochReport
from study.record.metrics_file import metrics_path
from study.record.trial_record import TrialRecord
from study.run_recorder import STATUS, RunRecorder, unsettled

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_recorder, "PATIENCE", 0.2)
    monkeypatch.setattr(run_recorder, "HASTE", 0.2)


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    """Of a server that does not answer."""
    return open_run_log(NOBODY, tmp_path)


def recorder(plan: StudyPlan, log: RunLog, said: list[str] | None = None) -> tuple[Ledger, RunRecorder]:
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    say = said.append if said is not None else lambda text: None
    made = RunRecorder(log, ledger, plan.space, study_tags(plan.identity, plan.facts), say)
    made.reconcile()
    return ledger, made


def arrive(folder: Path, server: MemoryServer) -> None:
    """The server answers, and all that waits is sent."""
    sender = Sender(folder / "outbox", server)
    while sender.round():
        pass


def runs(server: MemoryServer) -> dict[int, Run]:
    found = [run for run in server.runs.values() if "splatsweep.trial" in run.tags]
    numbers = [int(run.tags["splatsweep.trial"]) for run in found]
    assert len(set(numbers)) == len(numbers), "a trial has two runs"
    return dict(zip(numbers, found, strict=True))


def assert_told(plan: StudyPlan, server: MemoryServer) -> None:
    """Every record is there with its curve, each point once and in order, and with its end."""
    found = runs(server)
    records = read_ledger(plan.folder).records()
    assert set(found) == {record.number for record in records}
    for record in records:
        run = found[record.number]
        assert record.outcome is not None
        assert run.statuses[-1] == STATUS[record.outcome]
        assert run.tags["splatsweep.outcome"] == record.outcome.value
        points = [(point.step, point.value) for point in run.points if point.key == "val/probe"]
        assert points == list(record.curve.items())
        losses = [point.step for point in run.points if point.key == "train/loss"]
        assert losses == sorted(set(losses))
        best = [point.value for point in run.points if point.key == "objective"]
        assert best == ([] if record.best_value is None else [record.best_value])
        assert "config.json" in run.artifacts
    (study,) = server.by_trial("study")
    assert study.statuses[-1] in ("FINISHED", "FAILED")


def test_a_study_without_a_server_is_whole_and_tells_all_later(make_plan: MakePlan, log: RunLog) -> None:
    plan, said = make_plan(trials=5, base={"mode": "good"}), []
    ledger, told = recorder(plan, log, said)
    director = run_inline(plan, witnesses=[told])
    told = _with(told, director.ledger)
    told.keep_checkpoints()
    left = told.finish_study("FINISHED", {"splatsweep.outcome": "COMPLETE"}, [])
    assert left > 20
    assert "have not reached MLflow" in said[-1]
    assert waiting(plan.folder / "outbox") == left
    assert unsettled(ledger, log)
    server = MemoryServer()
    arrive(plan.folder, server)
    assert_told(plan, server)
    found = runs(server)
    kept = [number for number, run in found.items() if "checkpoint/state.json" in run.artifacts]
    assert sorted(kept) == sorted(director.ledger.attrs["stored_checkpoints"])
    (study,) = server.by_trial("study")
    assert {"receipt.json", "space.json", "space.yaml"} <= set(study.artifacts)
    assert "splatsweep.receipt" in study.tags
    trials = [(p.step, p.value) for p in study.points if p.key == "study/trials"]
    assert trials == [(n, float(n)) for n in range(1, 6)]


def _with(told: RunRecorder, ledger: Ledger) -> RunRecorder:
    """The inline driver opens the ledger itself; the recorder reads and writes the same one."""
    told._ledger = ledger
    return told


@pytest.mark.parametrize("seed", range(4))
def test_a_driver_that_dies_again_and_again_tells_everything_once(make_plan: MakePlan, log: RunLog, seed: int) -> None:
    plan, server = make_plan(trials=6, seed=seed, grace=1), MemoryServer()
    cuts = iter([3 + seed, 7, 2 + 2 * seed, 10])
    while True:
        countdown = next(cuts, 10**9)
        _, told = recorder(plan, log)

        def turn(director: Director) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown <= 0:
                raise PowerCut

        try:
            director = run_inline(plan, witnesses=[told], each_turn=turn)
        except PowerCut:
            told._log.close()
            if countdown % 2 == 0:
                arrive(plan.folder, server)
            continue
        break
    _with(told, director.ledger).finish_study("FINISHED", {}, [])
    arrive(plan.folder, server)
    assert_told(plan, server)


def test_what_the_ledger_has_and_the_outbox_has_not_is_told_again(make_plan: MakePlan, log: RunLog) -> None:
    plan = make_plan(trials=3)
    run_inline(plan)  # nobody recorded
    metrics_path(plan.folder, 1).unlink()
    _, told = recorder(plan, log)
    told.finish_study("FINISHED", {}, [])
    server = MemoryServer()
    arrive(plan.folder, server)
    assert_told(plan, server)
    assert "train/loss" not in {point.key for point in runs(server)[1].points}


def test_runs_that_were_deleted_for_ever_are_made_again(make_plan: MakePlan, log: RunLog) -> None:
    plan, server = make_plan(trials=3), MemoryServer()
    _, told = recorder(plan, log)
    director = run_inline(plan, witnesses=[told])
    _with(told, director.ledger).finish_study("FINISHED", {}, [])
    arrive(plan.folder, server)
    server.delete_experiment(for_ever=True)
    _, told = recorder(plan, log)
    told.finish_study("FINISHED", {}, [])
    arrive(plan.folder, server)  # notices
    _, told = recorder(plan, log)
    told.finish_study("FINISHED", {}, [])
    arrive(plan.folder, server)
    assert_told(plan, server)


def test_an_interrupted_trial_is_killed_and_goes_on_in_its_own_run(make_plan: MakePlan, log: RunLog) -> None:
    plan, server = make_plan(trials=2, base={"epochs": 6}), MemoryServer()
    _, told = recorder(plan, log)

    def turn(director: Director) -> None:
        if director.ledger.record(0).epoch >= 2:
            raise PowerCut

    with pytest.raises(PowerCut):
        run_inline(plan, witnesses=[told], each_turn=turn)
    ledger = read_ledger(plan.folder)
    told.interrupted([record for record in ledger.records() if record.outcome is None])
    told.finish_study("KILLED", {"splatsweep.outcome": "UNFINISHED"}, [])
    arrive(plan.folder, server)
    assert runs(server)[0].statuses[-1] == "KILLED"
    assert runs(server)[0].tags["splatsweep.outcome"] == "UNFINISHED"
    _, told = recorder(plan, log)
    director = run_inline(plan, witnesses=[told])
    _with(told, director.ledger).finish_study("FINISHED", {}, [])
    arrive(plan.folder, server)
    assert_told(plan, server)


def test_run_ids_come_back_into_the_ledger(make_plan: MakePlan, log: RunLog) -> None:
    plan, server = make_plan(trials=2), MemoryServer()
    _, told = recorder(plan, log)
    director = run_inline(plan, witnesses=[told])
    _with(told, director.ledger).finish_study("FINISHED", {}, [])
    assert {record.run_id for record in read_ledger(plan.folder).records()} == {None}
    arrive(plan.folder, server)
    _, told = recorder(plan, log)
    told.finish_study("FINISHED", {}, [])
    ledger = read_ledger(plan.folder)
    assert ledger.attrs["tracking_uri"] == NOBODY
    ids = {record.run_id for record in ledger.records()}
    assert len(ids) == 2
    assert ids < set(server.runs)


@pytest.mark.parametrize("until", [10, 12, 16, 30])
def test_a_disk_that_was_full_for_a_while(
    until: int, make_plan: MakePlan, log: RunLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from registry.tracking.outbox import Outbox
    from ssl_core.errors import StorageError

    plan, server, put, calls = make_plan(trials=3), MemoryServer(), Outbox.put, [0]

    def sometimes(self: Outbox, *entries: object) -> None:
        calls[0] += 1
        if 8 <= calls[0] <= until:
            raise StorageError("no space left")
        put(self, *entries)  # type: ignore[arg-type]

    _, told = recorder(plan, log)
    monkeypatch.setattr(Outbox, "put", sometimes)
    director = run_inline(plan, witnesses=[told], each_turn=lambda director: _with(told, director.ledger) and None)
    told.finish_study("FINISHED", {}, [])
    if until > 12:  # it was full to the end: the next command makes up for it
        calls[0] = 1000
        recorder(plan, log)[1].finish_study("FINISHED", {}, [])
    arrive(plan.folder, server)
    assert_told(plan, server)
    assert director.finished
    assert sum("told later" in text for text in caplog.messages) == 1


@pytest.fixture(autouse=True)
def _no_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests deliver by themselves: the sender of the study must not take the same outbox."""
    from registry.tracking.study_log import StudyLog

    class Idle:
        stdin, returncode = None, None

        def poll(self) -> None: ...

        def wait(self, timeout: float | None = None) -> None: ...

    monkeypatch.setattr(StudyLog, "_start_sender", lambda self: Idle())


def test_the_record_says_where_values_came_from(make_plan: MakePlan) -> None:
    from study.run_recorder import provenance_tags
    from study.schedule.rule import Verdict
    from study.search.origin import Origin

    verdict = Verdict(scheduler="asha", rung=4, value=0.25, bar=0.5, among=3, reason="below")
    record = TrialRecord(number=3, configuration=1, repeat=2, origin=Origin(kind="repeat"), verdicts=(verdict,))
    assert provenance_tags(record) == {
        "splatsweep.configuration": "1",
        "splatsweep.repeat": "2",
        "splatsweep.origin": "repeat",
        "splatsweep.verdict": "stop at epoch 4: 0.25 against 0.5",
    }
    assert EpochReport(number=1).metrics == {}
