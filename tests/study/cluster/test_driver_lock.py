"""One driver per study; the second is told who the first is. Also where locks do not reach."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssl_core.errors import StudyError
from study.cluster import driver_lock
from study.cluster.driver_lock import HOLDER, Holder, TakenOverError, hold_study, read_holder, running_holder

HOLD = """
import sys, time
from pathlib import Path
from study.cluster.driver_lock import hold_study
with hold_study(Path(sys.argv[1]), "demo"):
    print("held", flush=True)
    time.sleep(600)
"""


def elsewhere(beat: int = 0, token: str = "other") -> Holder:
    """A driver on another machine."""
    return Holder(host="gpu7", pid=41, user="ann", since="2026-01-02T03:04:05", machine="m7", token=token, beat=beat)


def write(folder: Path, holder: Holder) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HOLDER).write_text(holder.model_dump_json())


def test_the_second_driver_is_told_who_the_first_is(tmp_path: Path) -> None:
    with hold_study(tmp_path, "demo"):
        with pytest.raises(StudyError) as caught, hold_study(tmp_path, "demo"):
            pass
        text = str(caught.value)
        assert f"(process {os.getpid()}) since 20" in text
        assert os.uname().nodename in text
        assert "choose another --name" in text
        running = running_holder(tmp_path)
        assert running is not None
        assert running.pid == os.getpid()
    assert running_holder(tmp_path) is None
    assert not (tmp_path / HOLDER).exists()


def test_a_killed_driver_lets_go_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(StudyError, match=rf"process {process.pid}\)"), hold_study(tmp_path, "demo"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    with hold_study(tmp_path, "demo"):
        assert time.monotonic() - began < driver_lock.DEAD_SECONDS / 2
        known = read_holder(tmp_path)
        assert known is not None
        assert known.pid == os.getpid()


def test_a_living_driver_on_another_machine_is_known_by_its_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = iter(range(1, 1000))
    write(tmp_path, elsewhere())
    monkeypatch.setattr(driver_lock.time, "sleep", lambda _: write(tmp_path, elsewhere(next(beats))))
    who = r"run by ann on gpu7 \(process 41\) since 2026-01-02"
    with pytest.raises(StudyError, match=who), hold_study(tmp_path, "demo"):
        pass


def test_a_dead_driver_on_another_machine_is_given_up_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_lock, "DEAD_SECONDS", 0.6)
    write(tmp_path, elsewhere())
    with hold_study(tmp_path, "demo"):
        known = read_holder(tmp_path)
        assert known is not None
        assert known.pid == os.getpid()


def test_who_was_replaced_notices_and_leaves_the_other_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_lock, "BEAT_SECONDS", 0.05)
    with hold_study(tmp_path, "demo") as lock:
        lock.check()
        write(tmp_path, elsewhere())
        lock._thread.join(timeout=20)
        with pytest.raises(TakenOverError, match="taken over by ann on gpu7"):
            lock.check()
    assert read_holder(tmp_path) == elsewhere()


def test_a_file_system_without_locks_goes_by_the_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(driver_lock.fcntl, "flock", refuse)
    monkeypatch.setattr(driver_lock, "BEAT_SECONDS", 0.05)
    with hold_study(tmp_path, "demo"), pytest.raises(StudyError, match="is being run by"), hold_study(tmp_path, "demo"):
        pass


def test_whoever_only_looks_does_not_refuse_a_driver(tmp_path: Path) -> None:
    with hold_study(tmp_path, "demo"):
        pass
    stop = multiprocessing.Event()
    looking = multiprocessing.Process(target=_look, args=(tmp_path, stop))
    looking.start()
    try:
        for _ in range(20):
            with hold_study(tmp_path, "demo"):
                pass
    finally:
        stop.set()
        looking.join()


def _look(folder: Path, stop: "multiprocessing.synchronize.Event") -> None:
    while not stop.is_set():
        running_holder(folder)
        time.sleep(0.001)


def test_a_damaged_name_refuses_nobody(tmp_path: Path) -> None:
    (tmp_path / HOLDER).write_text('{"host": ')
    with hold_study(tmp_path, "demo"):
        pass
