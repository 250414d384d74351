"""A full disk is waited for, by the driver and by workers; nothing is lost, nothing is written twice."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_plans import MakePlan
from fake_sessions import FakeConfig, FakeSession
from study_process import environment

from ssl_core.errors import StorageError
from study.record.full_disk import DiskWatch, FullDiskRetry, is_disk_full
from study.record.journal import FileJournal
from study.record.journal_lines import Line
from study.record.metrics_file import MetricsFile, read_metrics
from study.record.trial_record import TrialRecord
from study.spec.outcome import EpochReport
from study.spec.trial_request import TrialRequest
from study.workers.trial_runner import TrialRunner


class Hand:
    """A clock whose sleep moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")


class Fails:
    """Raises as often as told, then does it."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left, self.error, self.calls = times, error or full(), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise self.error
        return "done"


def disk_retry(hand: Hand, said: list[str], limit: float = 600.0, **more: object) -> FullDiskRetry:
    return FullDiskRetry(limit, said.append, clock=hand, sleep=hand.sleep, **more)  # type: ignore[arg-type]


def test_it_waits_and_goes_on(tmp_path: Path) -> None:
    hand, said = Hand(), list[str]()
    assert disk_retry(hand, said)(Fails(10), tmp_path) == "done"
    assert [text.partition(": ")[2] for text in said] == [
        "the disk is full; waiting up to 10 minutes for space",
        "there is space again; going on",
    ]
    assert hand.now < 60


def test_it_gives_up_in_the_end_or_when_told(tmp_path: Path) -> None:
    hand, said = Hand(), list[str]()
    with pytest.raises(StorageError, match="nothing is lost: free space"):
        disk_retry(hand, said)(Fails(10**9), tmp_path)
    assert 600 <= hand.now < 610
    asked = Fails(10**9)
    with pytest.raises(StorageError):
        disk_retry(Hand(), said, give_up=lambda: asked.calls > 3)(asked, tmp_path)
    assert asked.calls <= 5


def test_other_errors_are_not_waited_for(tmp_path: Path) -> None:
    action = Fails(1, ValueError("boom"))
    with pytest.raises(ValueError, match="boom"):
        disk_retry(Hand(), [])(action, tmp_path)
    assert action.calls == 1


def test_what_libraries_make_of_a_full_disk_is_known() -> None:
    wrapped = StorageError("cannot write checkpoint")
    wrapped.__cause__ = full()
    assert is_disk_full(wrapped)
    assert is_disk_full(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert is_disk_full(RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0"))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))


def test_a_workers_checkpoint_waits_for_space(tmp_path: Path) -> None:
    class Filling(FakeSession):
        failures = 3

        def save(self, folder: Path) -> None:
            folder.mkdir(parents=True)
            (folder / "state.json").write_text("{")
            if self.epoch == 2 and Filling.failures:
                Filling.failures -= 1
                raise full()
            shutil.rmtree(folder)
            super().save(folder)

    hand, said = Hand(), list[str]()
    runner = TrialRunner(
        lambda request: Filling(request, FakeConfig()), "val/probe", "maximize", 1, disk_retry(hand, said)
    )
    runner.begin(TrialRequest(number=0, folder=str(tmp_path / "trials" / "0000")))
    assert [runner.step().epoch for _ in range(4)] == [1, 2, 3, 4]
    assert len(said) == 2


def test_a_line_of_metrics_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    record = TrialRecord(number=0)
    metrics = MetricsFile(tmp_path, disk_retry(Hand(), []))
    metrics.reported(record, EpochReport(number=0, epoch=1, metrics={"a": 1.0}))
    with (tmp_path / "trials" / "0000" / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 2, "a"')
    metrics.reported(record, EpochReport(number=0, epoch=2, metrics={"a": 2.0}))
    assert read_metrics(tmp_path, 0) == {"a": {1: 1.0, 2: 2.0}}


def test_the_journal_is_whole_after_the_wait(tmp_path: Path) -> None:
    class Filling(FileJournal):
        failures = 4

        def append(self, group: list[Line], *, sync: bool) -> None:  # type: ignore[override]
            if Filling.failures:
                Filling.failures -= 1
                raise full()
            super().append(group, sync=sync)

    path = tmp_path / "journal.log"
    journal, wait = Filling(path, writable=True), disk_retry(Hand(), [])
    wait(lambda: journal.append([{"op_code": 0, "study_name": "demo"}], sync=True), path)
    wait(lambda: journal.append([{"op_code": 2, "user_attr": {}}], sync=False), path)
    assert len(FileJournal(path, writable=False).read()) == 2


def test_the_watch_speaks_once_per_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, said, free = Hand(), list[str](), [10]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, free[0]))  # type: ignore[attr-defined]
    watch = DiskWatch(tmp_path, said.append, hand)
    for _ in range(10):
        watch.tick()
        hand.now += 3
    free[0] = 2**30
    hand.now += 6
    watch.tick()
    assert len(said) == 1


FILL = """
set -e
mount -t tmpfs -o size="$1" tmpfs "$4"
shift
exec "$@"
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs a mount of its own")
@pytest.mark.parametrize("with_ray", [False, True], ids=["in-one-process", "a-minute-with-ray-and-mlflow"])
def test_a_real_full_disk_for_a_while(tmp_path: Path, with_ray: bool) -> None:
    """A study on a small disk of its own, which somebody else fills in the middle."""
    place, home = tmp_path / "small", tmp_path / "home"
    place.mkdir()
    program = Path(__file__).parents[1] / "run_on_a_small_disk.py"
    size, also = ("64m", [str(home)]) if with_ray else ("1m", [])
    command = ["unshare", "-m", "sh", "-c", FILL, "sh", size, sys.executable, str(program), str(place), *also]
    done = subprocess.run(command, env=environment(None), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "the disk is full" in done.stderr
    if not with_ray:  # else it is the workers who wait, and nobody hears them
        assert "there is space again" in done.stderr
    assert done.stdout.splitlines()[-1] == "4 COMPLETE, 16 epochs trained, 16 different"


def test_plans_still_end_when_the_disk_stays_full(make_plan: MakePlan) -> None:
    from inline_driver import run_inline

    manager = run_inline(make_plan(base={"mode": "full"}))
    assert isinstance(manager.fatal, StorageError)
