"""Real Ray, real Optuna journal, real MLflow: they agree on every trial, whatever happened to it or to the driver."""

import errno
import io
import os
import signal
import time
from pathlib import Path

import pytest
import ray
from agreement import assert_agreement, running_in, runs_of, story, study_run_of
from fake_plans import MakePlan
from fake_sessions import trained
from rich.console import Console
from run_fake_study import plan as killed_plan
from study_process import study_process, wait_until_trained

from registry.tracking.cursor import read_cursor
from registry.tracking.run_log import RunLog, open_run_log
from ssl_core.errors import StorageError, StudyError
from study.cluster.driver_lock import hold_study
from study.engine.cost_report import CostReport, study_receipt
from study.engine.ledger import Ledger, disk_errors, open_ledger, read_ledger
from study.reports.status import read_status
from study.run.driver import StudyPlan, StudySummary, run_study
from study.run.study_plan import nothing_finished
from study.schedulers.rules import SuccessiveHalving
from study.spec.outcome import EpochReport, Outcome
from study.spec.scheduler_spec import ASHA


def run(plan: StudyPlan, log: RunLog | None) -> tuple[StudySummary, str]:
    console = Console(file=io.StringIO(), width=200)
    summary = run_study(plan, log, console)
    return summary, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("ray_two")
def test_outcomes_agree_everywhere(make_plan: MakePlan, tmp_path: Path) -> None:
    modes = ["good", "nan", "diverge", "raise", "infeasible", "die_once"]
    space = {"mode": {"choice": modes}, "quality": {"float": [0.1, 1.0]}}
    # all random: which modes come up does not depend on which trial ends first
    plan = make_plan(space, trials=10, seed=1, sampler={"kind": "tpe", "startup": 99}, scheduler="none")
    with open_run_log(None, tmp_path) as log:
        summary, text = run(plan, log)
        assert_agreement(plan.folder, log)
        best = summary.leaders[0]
        assert best is not None
        best_run = read_cursor(plan.folder).run_of(best.number)
        kept = [item.path for item in log.client.list_artifacts(best_run, "checkpoint")]
        assert sorted(kept) == ["checkpoint/report.json", "checkpoint/state.json"]
        assert {item.path for item in log.client.list_artifacts(best_run)} >= {"config.json"}
        parent = {item.path for item in log.client.list_artifacts(summary.run_id or "")}
        assert parent >= {"report.html", "space.yaml", "space.json"}
        history = log.client.get_metric_history(best_run, "val/probe")
        assert [(m.step, m.value) for m in history] == list(best.curve.items())
    states = {trial.params["mode"]: trial.outcome for trial in read_status(plan.folder).trials}
    assert set(states) == set(modes)
    for mode, state in states.items():
        expected = {"nan": "DIVERGED", "diverge": "DIVERGED", "raise": "CRASHED", "infeasible": "INFEASIBLE"}
        assert state == expected.get(mode, "COMPLETE")
    assert sum(summary.outcomes.values()) == len(read_ledger(plan.folder).records())
    assert "10 trials" in text
    assert "ValueError: boom" in text
    assert not (plan.folder / ".tune").exists()
    assert read_status(plan.folder).state == "finished"
    # a warm process serves many trials
    pids = {line.split()[2] for line in (plan.folder / "trained.txt").read_text().splitlines()}
    assert len(pids) <= 3


@pytest.mark.usefixtures("ray_two")
def test_a_study_works_without_a_run_log_and_a_full_disk_can_be_mended(make_plan: MakePlan) -> None:
    with pytest.raises(StorageError, match="no space left"):
        run(make_plan(base={"mode": "full"}), None)
    folder = make_plan().folder
    assert read_status(folder).state == "interrupted"
    assert {record.outcome for record in read_ledger(folder).records()} == {None}


@pytest.mark.slow  # the whole minute of it is in test_patience.py
@pytest.mark.usefixtures("ray_two")
def test_a_disk_that_fills_under_the_driver_loses_nothing(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, calls, write = make_plan(), [0], Ledger.report

    def full(self: Ledger, report: EpochReport, value: float, seconds: float, held: float) -> None:
        calls[0] += 1
        with disk_errors(plan.folder):
            if calls[0] > 6:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "journal.log")
        write(self, report, value, seconds, held)

    with open_run_log(None, tmp_path) as log:
        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "report", full)
            with pytest.raises(StorageError, match=r"journal.log: No space left on device; nothing is lost"):
                run(plan, log)
        assert running_in(runs_of(log, study_run_of(plan.folder))) == []
        run(plan, log)
        assert_agreement(plan.folder, log)
    epochs = trained(plan.folder)
    assert len(epochs) - len(set(epochs)) <= 2


@pytest.mark.slow  # ten seconds; the journey is run again, too
def test_a_finished_study_returns_at_once_and_without_ray(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inline_driver import run_inline

    run_inline(make_plan())
    monkeypatch.setattr("study.run.driver.ray_cluster", lambda *_: pytest.fail("Ray was started"))
    with open_run_log(None, tmp_path) as log:
        for _ in range(2):
            summary, _text = run(make_plan(), log)
            assert summary.was_finished
            assert len(summary.leaders) == 2
        assert_agreement(make_plan().folder, log)


def test_a_study_in_which_nothing_finished_is_an_error(make_plan: MakePlan) -> None:
    from inline_driver import run_inline

    plan = make_plan(base={"mode": "raise"})
    run_inline(plan)
    with pytest.raises(StudyError, match=r"no trial of study 'demo' finished \(4 CRASHED\); mostly: ValueError: boom"):
        run(plan, None)


def test_a_study_that_began_no_trial_says_so(make_plan: MakePlan) -> None:
    plan = make_plan()
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    assert nothing_finished(ledger) == "no trial of study 'demo' began before its time was used; give it more time"


def test_one_process_runs_a_study(make_plan: MakePlan) -> None:
    plan = make_plan()
    with hold_study(plan.folder, plan.name), pytest.raises(StudyError, match=rf"run by .* \(process {os.getpid()}\)"):
        run(plan, None)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_two")
def test_ctrl_c_and_kill_leave_a_study_that_the_same_command_finishes(tmp_path: Path) -> None:
    plan = killed_plan(tmp_path, 10, 0.15)
    # it joins the Ray of this process, as on a cluster; its actors end with it all the same
    address = ray.get_runtime_context().gcs_address
    with study_process("run_fake_study.py", tmp_path, 10, 0.15, address=address) as first:
        assert wait_until_trained(plan.folder, 5, first), first.communicate()[1]
        first.send_signal(signal.SIGINT)
        out, errors = first.communicate(timeout=60)
        assert first.returncode == 0, errors
        assert "interrupted" in out
        assert "the same command continues it" in errors
    with open_run_log(None, tmp_path) as log:
        study_run = study_run_of(plan.folder)
        assert running_in(runs_of(log, study_run)) == []
        assert log.client.get_run(study_run).info.status == "KILLED"
    with study_process("run_fake_study.py", tmp_path, 10, 0.15, address=address) as second:
        assert wait_until_trained(plan.folder, 22, second), second.communicate()[1]
        second.kill()
        second.wait(timeout=60)
    killed = read_ledger(plan.folder).records()
    finished = {record.number: record for record in killed if record.told}
    assert finished
    assert len(finished) < 10
    with open_run_log(None, tmp_path) as log:
        summary, text = run(plan, log)
        assert_agreement(plan.folder, log)
    assert "continuing with" in text
    records = read_ledger(plan.folder).records()
    assert [record.number for record in records] == list(range(10))
    assert all(story(records[number]) == story(before) for number, before in finished.items())
    epochs = trained(plan.folder)
    assert len(epochs) - len(set(epochs)) <= 4, "at most the epoch under way in each slot is trained again"
    assert summary.outcomes[Outcome.COMPLETE] >= 1
    halving = SuccessiveHalving(ASHA(grace=2, reduction=3), plan.spec.direction)
    halving.rebuild((record.number, record.curve) for record in records)
    assert set(halving.rungs[2].values) == set(range(10))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_two")
def test_sigterm_leaves_at_once_in_the_middle_of_a_long_epoch(tmp_path: Path) -> None:
    plan, address = killed_plan(tmp_path, 2, 600.0), ray.get_runtime_context().gcs_address
    with study_process("run_fake_study.py", tmp_path, 2, 600.0, address=address) as process:
        attempts = [plan.folder / "trials" / f"{number:04d}" / "attempt" for number in (0, 1)]
        deadline = time.monotonic() + 120
        while not all(path.exists() for path in attempts):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=120)  # an epoch takes ten minutes
        assert process.returncode == 0, errors
        assert "interrupted" in out
    assert {record.outcome for record in read_ledger(plan.folder).records()} == {None}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_two")
def test_a_trial_that_ran_out_of_memory_gets_larger_shares_of_the_cluster(make_plan: MakePlan) -> None:
    plan = make_plan(base={"mode": "greedy"}, trials=2, scheduler="none", cpus_per_trial=0.5)
    summary, _text = run(plan, None)
    assert summary.outcomes == {Outcome.COMPLETE: 2}
    assert [record.share for record in read_ledger(plan.folder).records()] == [4.0, 4.0]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_two")
def test_the_receipt_is_what_an_outside_clock_says(make_plan: MakePlan) -> None:
    plan = make_plan(base={"pace": 0.2}, trials=6)
    began = time.monotonic()
    run(plan, None)
    took = time.monotonic() - began
    ledger = read_ledger(plan.folder)
    receipt = study_receipt(ledger)
    assert receipt.held == pytest.approx(2 * took, rel=0.02)
    trained_for = sum(record.seconds for record in ledger.records())
    assert receipt.useful + receipt.stopped == pytest.approx(trained_for, rel=0.02)
    assert CostReport.model_validate(ledger.attrs["receipt"]).held == pytest.approx(receipt.held, rel=0.02)


@pytest.mark.usefixtures("ray_two")
def test_a_worker_with_other_code_is_refused(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.cluster.tune_loop.code_digest", lambda: "feedfeedfeedfeed")
    with pytest.raises(StudyError, match=r"runs other code than the driver .*the driver has feedfeedfeedfeed"):
        run(make_plan(), None)
