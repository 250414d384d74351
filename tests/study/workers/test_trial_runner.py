"""Every way a trial can fail becomes a report; what is on disk is whole; an interrupted trial goes on where it was."""

from pathlib import Path
from typing import Any

import pytest
from fake_sessions import FakeConfig, FakeSession, OpenFake, trained

from ssl_core.errors import CheckpointError, StorageError, StudyError
from study.spec.outcome import Outcome
from study.spec.trial_request import TrialRequest
from study.workers.system_use import SystemUse
from study.workers.trial_folder import TrialFolder
from study.workers.trial_runner import TrialCrashedError, TrialRunner


def begin(tmp_path: Path, number: int = 0, attempt: int = 1, reported: int = 0, **config: Any) -> TrialRunner:
    runner = TrialRunner(OpenFake(FakeConfig(**config)), "val/probe", "maximize")
    folder = str(tmp_path / "trials" / f"{number:04d}")
    runner.begin(TrialRequest(number=number, attempt=attempt, folder=folder, reported_epoch=reported))
    return runner


def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path / "trials" / "0000")


def test_a_trial_reports_each_epoch_and_its_end(tmp_path: Path) -> None:
    runner = begin(tmp_path, quality=0.8)
    reports = [runner.step() for _ in range(4)]
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    assert [r.end for r in reports] == [None, None, None, Outcome.COMPLETE]
    assert [r.metrics["val/probe"] for r in reports] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert reports[-1].best_epoch == 4
    assert folder(tmp_path).report() == reports[-1]


def test_best_is_the_best_and_last_the_last(tmp_path: Path) -> None:
    class Declining(FakeSession):
        def run_epoch(self) -> dict[str, float]:
            super().run_epoch()
            return {"val/probe": [0.1, 0.9, 0.5, 0.3][self.epoch - 1]}

    runner = TrialRunner(lambda request: Declining(request, FakeConfig()), "val/probe", "maximize")
    runner.begin(TrialRequest(number=0, folder=str(tmp_path / "trials" / "0000")))
    for _ in range(4):
        report = runner.step()
    assert (report.best_epoch, report.best_value) == (2, 0.9)
    assert '"epoch": 2' in (folder(tmp_path).best / "state.json").read_text()
    assert '"epoch": 4' in (folder(tmp_path).last / "state.json").read_text()


class Measured(FakeSession):
    """Scores 0.05 before it has trained."""

    def untrained(self) -> dict[str, float]:
        return {"val/probe": 0.05}


def test_the_untrained_models_are_told_of_with_the_first_epoch_and_decide_nothing(tmp_path: Path) -> None:
    request = TrialRequest(number=0, folder=str(tmp_path / "trials" / "0000"))
    runner = TrialRunner(lambda request: Measured(request, FakeConfig()), "val/probe", "minimize")
    runner.begin(request)
    reports = [runner.step(), runner.step()]
    assert [report.untrained for report in reports] == [{"val/probe": 0.05}, {}]
    assert reports[1].best_epoch == 1, "epoch 0 would be the lowest"
    runner.begin(request)
    assert runner.step().untrained == {}, "it goes on from a checkpoint"


def test_what_the_machine_gave_joins_the_metrics(tmp_path: Path) -> None:
    opened = lambda request: FakeSession(request, FakeConfig())  # noqa: E731
    runner = TrialRunner(opened, "val/probe", "maximize", system=SystemUse())
    runner.begin(TrialRequest(number=0, folder=str(tmp_path / "trials" / "0000")))
    report = runner.step()
    assert "system/process_cpu_percentage" in report.metrics
    assert report.metrics["val/probe"] == report.best_value
    assert folder(tmp_path).report() == report


@pytest.mark.parametrize("mode", ["nan", "diverge"])
def test_non_finite_is_diverged_and_leaves_the_last_good_checkpoint(tmp_path: Path, mode: str) -> None:
    runner = begin(tmp_path, mode=mode)
    runner.step()
    report = runner.step()
    assert report.end is Outcome.DIVERGED
    assert "epoch 2" in report.reason or "iteration 17" in report.reason
    assert "val/probe" not in report.metrics
    kept = folder(tmp_path).report()
    assert kept is not None
    assert kept.epoch == 1


def test_infeasible_ends_at_once_with_its_reason(tmp_path: Path) -> None:
    report = begin(tmp_path, mode="infeasible").step()
    assert report.end is Outcome.INFEASIBLE
    assert "lower points.num_points" in report.reason


def test_an_exception_is_kept_and_a_retry_continues(tmp_path: Path) -> None:
    runner = begin(tmp_path, mode="raise_once")
    runner.step()
    with pytest.raises(TrialCrashedError, match="ValueError: boom") as caught:
        runner.step()
    assert not caught.value.tainted
    text = (tmp_path / "trials" / "0000" / "crash-1.txt").read_text()
    assert text.startswith("ValueError: boom\n")
    assert "_misbehave" in text
    again = begin(tmp_path, attempt=2, reported=1, mode="raise_once")
    assert [again.step().epoch for _ in range(3)] == [2, 3, 4]


def test_device_faults_taint_the_process(tmp_path: Path) -> None:
    def broken(request: TrialRequest) -> FakeSession:
        raise RuntimeError("CUDA error: device-side assert triggered")

    runner = TrialRunner(broken, "val/probe", "maximize")
    runner.begin(TrialRequest(number=0, folder=str(tmp_path / "t")))
    with pytest.raises(TrialCrashedError) as caught:
        runner.step()
    assert caught.value.tainted


def test_a_full_disk_is_nobodys_fault(tmp_path: Path) -> None:
    runner = begin(tmp_path, mode="full")
    runner.step()
    with pytest.raises(StorageError, match="no space"):
        runner.step()


def test_a_missing_objective_names_what_there_is(tmp_path: Path) -> None:
    runner = begin(tmp_path, mode="silent")
    with pytest.raises(StudyError, match="no metric 'val/probe'; it has train/loss"):
        runner.step()


def test_resume_continues_at_its_epoch(tmp_path: Path) -> None:
    first = begin(tmp_path)
    whole = [first.step() for _ in range(2)]
    second = begin(tmp_path, reported=2)
    rest = [second.step() for _ in range(2)]
    assert [r.epoch for r in whole + rest] == [1, 2, 3, 4]
    assert trained(tmp_path) == [(0, 1), (0, 2), (0, 3), (0, 4)]


@pytest.mark.parametrize("done", [1, 4])
def test_an_epoch_the_ledger_missed_is_told_not_trained_again(tmp_path: Path, done: int) -> None:
    first = begin(tmp_path)
    told = [first.step() for _ in range(done)][-1]
    assert begin(tmp_path, reported=done - 1).step() == told
    assert len(trained(tmp_path)) == done


def test_a_finished_trial_that_was_not_closed_says_so_again(tmp_path: Path) -> None:
    first = begin(tmp_path)
    for _ in range(4):
        last = first.step()
    assert begin(tmp_path, reported=4).step() == last


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_death_between_two_renames_loses_nothing(tmp_path: Path, name: str) -> None:
    begin(tmp_path).step()
    place = folder(tmp_path).path / name
    place.rename(place.with_name(f".{name}.old"))
    assert begin(tmp_path, reported=1).step().epoch == 2
    assert (folder(tmp_path).best / "state.json").exists()


def test_a_half_written_checkpoint_is_not_taken(tmp_path: Path) -> None:
    begin(tmp_path).step()
    saving = folder(tmp_path).path / ".saving"
    saving.mkdir()
    (saving / "state.json").write_text('{"epoch": 3, "number": 0}')
    assert begin(tmp_path, reported=1).step().epoch == 2


def test_a_checkpoint_of_another_trial_is_put_aside(tmp_path: Path) -> None:
    begin(tmp_path).step()
    (folder(tmp_path).last / "state.json").write_text('{"epoch": 3, "number": 9}')
    assert begin(tmp_path, reported=1).step().epoch == 1
    assert "of trial 9" in (folder(tmp_path).path / "unusable.txt").read_text()
    with pytest.raises(CheckpointError):
        FakeSession(TrialRequest(number=0, folder=""), FakeConfig()).load(folder(tmp_path).path / "unusable")


def test_pruning_keeps_the_best_only_when_asked(tmp_path: Path) -> None:
    begin(tmp_path).step()
    folder(tmp_path).prune(keep_best=True)
    assert not folder(tmp_path).last.exists()
    assert folder(tmp_path).best.exists()
    folder(tmp_path).prune(keep_best=False)
    assert not folder(tmp_path).best.exists()
