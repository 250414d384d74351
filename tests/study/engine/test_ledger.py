"""The ledger: one study is one space, pack and objective; nothing half-written is believed; Optuna hears the truth."""

import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from fake_plans import MakePlan
from optuna.trial import TrialState
from search_kit import frozen_trials

from ssl_core.errors import ConfigError, SpaceError, StorageError, StudyError
from study.engine.ledger import JOURNAL, Ledger, open_ledger, read_ledger
from study.record.trial_record import STATE_OF, leaders, ranked
from study.run.driver import StudyPlan
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import StudySpec, study_spec


def opened(plan: StudyPlan) -> Ledger:
    return open_ledger(plan.folder, plan.identity, plan.spec, plan.space)


def run_trial(ledger: Ledger, plan: StudyPlan, values: list[float], outcome: Outcome = Outcome.COMPLETE) -> int:
    record = ledger.ask(plan.space)
    for epoch, value in enumerate(values, start=1):
        ledger.report(EpochReport(number=record.number, epoch=epoch, epochs=len(values)), value, seconds=epoch)
    ledger.close(record.number, outcome, "why")
    return record.number


def test_facts_survive_the_process(make_plan: MakePlan) -> None:
    plan = make_plan()
    number = run_trial(opened(plan), plan, [0.2, 0.7, 0.5])
    record = read_ledger(plan.folder).record(number)
    assert record.outcome is Outcome.COMPLETE
    assert record.curve == {1: 0.2, 2: 0.7, 3: 0.5}
    assert (record.best_epoch, record.best_value) == (2, 0.7)
    assert record.seconds == 3
    assert record.seed == plan.spec.seed + number
    assert record.values == plan.space.replay(record.params)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_optuna_agrees_and_nothing_stays_running(make_plan: MakePlan, outcome: Outcome) -> None:
    plan = make_plan()
    ledger = opened(plan)
    number = run_trial(ledger, plan, [0.3, 0.1], outcome)
    trial = frozen_trials(ledger)[number]
    assert trial.state == STATE_OF[outcome]
    assert trial.state.is_finished()
    expected = {TrialState.COMPLETE: 0.3, TrialState.PRUNED: 0.1, TrialState.FAIL: None}[trial.state]
    assert trial.value == expected


def test_complete_without_a_value_is_not_complete(make_plan: MakePlan) -> None:
    plan = make_plan()
    ledger = opened(plan)
    record = ledger.close(ledger.ask(plan.space).number, Outcome.COMPLETE, "")
    assert record.outcome is Outcome.CRASHED
    assert "without reporting" in record.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"quality": {"float": [0.2, 1.0]}}}, "another search space"),
        ({"base": {"epochs": 9}}, "another search space"),
        ({"pack": "pack1"}, "another pack"),
        ({"metric": "train/loss"}, "metric=val/probe, now train/loss"),
        ({"direction": "minimize"}, "direction=maximize"),
        ({"seed": 5}, "seed=0, now 5"),
    ],
)
def test_the_same_name_for_something_else_is_refused(make_plan: MakePlan, change: dict[str, Any], message: str) -> None:
    opened(make_plan())
    with pytest.raises(StudyError, match=message) as caught:
        opened(make_plan(**change))
    assert "--name" in str(caught.value)
    assert "demo" in str(caught.value)


def test_more_trials_is_the_same_study(make_plan: MakePlan) -> None:
    opened(make_plan())
    assert opened(make_plan(trials=9)).spec.trials == 9
    assert read_ledger(make_plan().folder).spec.trials == 9


def test_an_interrupted_search_asks_what_it_would_have_asked(make_plan: MakePlan) -> None:
    whole, broken = make_plan(name="whole", trials=12), make_plan(name="broken", trials=12)
    ledger = opened(whole)
    for i in range(12):
        run_trial(ledger, whole, [float(i % 5)])
    for i in range(12):
        run_trial(opened(broken), broken, [float(i % 5)])
    params = [[record.params for record in read_ledger(plan.folder).records()] for plan in (whole, broken)]
    assert params[0] == params[1]
    assert len({str(p) for p in params[0]}) == 12


def test_the_first_trial_is_the_preset(make_plan: MakePlan) -> None:
    plan = make_plan()
    assert opened(plan).ask(plan.space).values == {"quality": 0.5}
    other = make_plan(name="other", first_is_base=False)
    assert opened(other).ask(other.space).values != {"quality": 0.5}


@pytest.mark.parametrize("torn", [b'{"op_code": 4, "wor', b"\xff"])
def test_a_torn_line_is_cut_off(make_plan: MakePlan, torn: bytes) -> None:
    plan = make_plan()
    run_trial(opened(plan), plan, [0.5])
    with (plan.folder / JOURNAL).open("ab") as stream:
        stream.write(torn)
    ledger = opened(plan)
    assert len(ledger.records()) == 1
    run_trial(ledger, plan, [0.6])
    assert len(opened(plan).records()) == 2


def test_the_lock_of_a_dead_writer_does_not_delay(make_plan: MakePlan) -> None:
    plan = make_plan()
    opened(plan)
    (plan.folder / f"{JOURNAL}.lock").symlink_to(plan.folder / JOURNAL)
    run_trial(opened(plan), plan, [0.5])


def test_damage_inside_the_journal_is_named(make_plan: MakePlan) -> None:
    plan = make_plan()
    run_trial(opened(plan), plan, [0.5])
    lines = (plan.folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (plan.folder / JOURNAL).write_bytes(b"".join([lines[0], b"garbage\n", *lines[2:]]))
    with pytest.raises(StudyError, match="damaged"):
        opened(plan)


def test_a_study_that_is_not_there(make_plan: MakePlan, tmp_path: Path) -> None:
    opened(make_plan(name="yours"))
    with pytest.raises(StudyError, match=r"no study 'mine'.*there is yours"):
        read_ledger(tmp_path / "studies" / "mine")
    assert not (tmp_path / "studies" / "mine").exists()


@pytest.mark.skipif(os.geteuid() != 0 and not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_storage_error(make_plan: MakePlan) -> None:
    plan = make_plan()
    ledger = opened(plan)
    journal = plan.folder / JOURNAL
    kept = journal.read_bytes()
    journal.unlink()
    journal.symlink_to("/dev/full")
    with pytest.raises(StorageError, match="nothing is lost"):
        ledger.set_attr("x", 1)
    journal.unlink()
    journal.write_bytes(kept)
    run_trial(opened(plan), plan, [0.5])


def test_a_folder_that_cannot_be_made(make_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("a file")
    with pytest.raises(StorageError, match="studies"):
        opened(make_plan())


def test_ranking_puts_complete_before_stopped_before_the_rest(make_plan: MakePlan) -> None:
    plan = make_plan()
    ledger = opened(plan)
    outcomes = [Outcome.STOPPED, Outcome.COMPLETE, Outcome.DIVERGED, Outcome.COMPLETE, Outcome.STOPPED]
    for value, outcome in zip([0.9, 0.2, 0.95, 0.4, 0.1], outcomes, strict=True):
        run_trial(ledger, plan, [value], outcome)
    records = ledger.records()
    assert [r.number for r in ranked(records, "maximize")] == [3, 1, 0, 4, 2]
    assert [r.number for r in ranked(records, "minimize")] == [1, 3, 4, 0, 2]
    assert [r.number for r in leaders(records, "maximize", 3)] == [3, 1, 0]


def test_the_study_section_is_checked() -> None:
    assert study_spec({"trials": 3}, {"trials": 5, "concurrency": None}).trials == 5
    with pytest.raises(SpaceError, match=r"f.yaml: section 'study'.*unknown key 'trails', did you mean 'trials'"):
        study_spec({"trails": 3}, {}, Path("f.yaml"))
    with pytest.raises(ConfigError, match="needs at least one trial"):
        study_spec({}, {"trials": 0})
    with pytest.raises(ConfigError, match="whole number"):
        study_spec({"gpus_per_trial": 1.5})
    assert StudySpec(trials=8).startup == 3
    assert StudySpec(trials=300).startup == 10
    assert optuna.logging.get_verbosity() >= optuna.logging.WARNING
