"""A worker of the past may finish what it does, but not write over the attempt that took its place."""

import multiprocessing
import threading
import time
from pathlib import Path

import pytest
from fake_sessions import FakeConfig, FakeSession, OpenFake

from ssl_core.errors import StudyError
from ssl_core.own_packages import PACKAGES
from study.spec.trial_request import TrialRequest
from study.workers.revision import code_digest, digest_of, require_revision
from study.workers.trial_folder import ATTEMPT, Attempt, FencingToken, StaleAttemptError, TrialFolder
from study.workers.trial_runner import TrialCrashedError, TrialRunner


def runner(tmp_path: Path, invocation: int, attempt: int = 1, session: type[FakeSession] = FakeSession) -> TrialRunner:
    opener = OpenFake(FakeConfig()) if session is FakeSession else lambda request: session(request, FakeConfig())
    made = TrialRunner(opener, "val/probe", "maximize", invocation)
    made.begin(TrialRequest(number=0, attempt=attempt, folder=str(tmp_path / "trials" / "0000")))
    return made


def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path / "trials" / "0000")


@pytest.mark.parametrize("newer", [(2, 1), (1, 2), (7, 3)])
def test_an_old_worker_cannot_save_over_a_newer_attempt(tmp_path: Path, newer: tuple[int, int]) -> None:
    old = runner(tmp_path, 1)
    old.step()
    new = runner(tmp_path, *newer)
    assert new.step().epoch == 1  # told again: the ledger knew nothing
    assert new.step().epoch == 2
    kept = {path.name: path.read_bytes() for path in folder(tmp_path).last.iterdir()}
    with pytest.raises(TrialCrashedError, match="took over") as caught:
        old.step()
    assert caught.value.tainted
    assert {path.name: path.read_bytes() for path in folder(tmp_path).last.iterdir()} == kept
    assert not list(folder(tmp_path).path.glob("crash-*.txt")), "the story is the newer attempt's now"
    assert new.step().epoch == 3


def test_a_worker_that_begins_too_late_does_not_begin(tmp_path: Path) -> None:
    runner(tmp_path, 3).step()
    with pytest.raises(TrialCrashedError, match="took over"):
        runner(tmp_path, 2, attempt=9).step()
    assert (folder(tmp_path).path / ATTEMPT).read_text().split() == ["000000000003", "00000001"]


def test_an_old_worker_that_fails_leaves_no_word_in_the_newer_attempts_folder(tmp_path: Path) -> None:
    class Failing(FakeSession):
        def run_epoch(self) -> dict[str, float]:
            runner(tmp_path, 2).step()
            raise ValueError("boom")

    with pytest.raises(TrialCrashedError):
        runner(tmp_path, 1, session=Failing).step()
    assert not list(folder(tmp_path).path.glob("crash-*.txt"))


def test_what_an_old_worker_left_half_written_goes(tmp_path: Path) -> None:
    runner(tmp_path, 1).step()
    for name in (".saving-1-1", "..saving-1-1.new", ".saving-1-1-best"):
        (folder(tmp_path).path / name).mkdir()
    runner(tmp_path, 2).step()
    assert not list(folder(tmp_path).path.glob(".*saving*"))


def test_swapping_and_beginning_exclude_each_other(tmp_path: Path) -> None:
    old, new = FencingToken(tmp_path, Attempt(1, 1)), FencingToken(tmp_path, Attempt(2, 1))
    old.claim()
    events: list[str] = []
    with old.open():
        thread = threading.Thread(target=lambda: (new.claim(), events.append("begun")))
        thread.start()
        time.sleep(0.2)
        events.append("swapped")
    thread.join(timeout=20)
    assert events == ["swapped", "begun"]
    with pytest.raises(StaleAttemptError), old.open():
        pass


def test_a_worker_that_was_stopped_in_the_middle_does_not_stop_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.workers.trial_folder._PATIENCE", 0.3)
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(20)
        FencingToken(tmp_path, Attempt(2, 1)).claim()
    finally:
        process.kill()
        process.join()
    assert FencingToken(tmp_path, Attempt(1, 1)).stale()


def _hold(path: Path, ready: "multiprocessing.synchronize.Event") -> None:
    token = FencingToken(path, Attempt(1, 1))
    token.claim()
    with token.open():
        ready.set()
        time.sleep(600)


def test_a_torn_attempt_file_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / ATTEMPT).write_text("0000000000")
    token = FencingToken(tmp_path, Attempt(4, 2))
    token.claim()
    assert not token.stale()


def test_workers_with_other_code_are_refused(tmp_path: Path) -> None:
    require_revision(code_digest())
    with pytest.raises(StudyError, match=rf"revision {code_digest()}, the driver has feedfeedfeedfeed\); bring "):
        require_revision("feedfeedfeedfeed")
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("x = 1\n")
    before = digest_of(tmp_path)
    (tmp_path / "study" / "notes.txt").write_text("no code")
    assert digest_of(tmp_path) == before
    (tmp_path / "study" / "a.py").write_text("x = 2\n")
    changed = digest_of(tmp_path)
    assert changed != before
    (tmp_path / "study" / "a.py").rename(tmp_path / "study" / "b.py")
    assert digest_of(tmp_path) not in (before, changed)
