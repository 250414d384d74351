"""Signals as systemd, Slurm, `timeout` and terminals send them: to every process of a study, twice, at any moment."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_sessions import trained
from run_fake_study import plan as fake_plan
from study_process import environment, study_process, wait_until_trained

from registry.tracking.run_log import open_run_log
from study.engine.ledger import read_ledger
from study.run.driver import run_study

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
MARK = "SPLATSWEEP_TEST_OF"
LINE = "study killed is interrupted; the same command continues it"
LIMIT = 45.0
"""seconds; Ray asks for a process of its own that is gone for 60"""


class Marked:
    """Processes that have this test's mark in their environment: the driver's, the mirror's, all of Ray's."""

    def __init__(self, mark: str) -> None:
        self._word = f"{MARK}={mark}".encode()

    def __iter__(self) -> Iterator[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._word in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
            except OSError:
                pass  # it has ended meanwhile

    def signal(self, number: int) -> None:
        """To each, as systemd does."""
        for process in self:
            os.kill(process, number)

    def gone(self, seconds: float = 20.0) -> bool:
        """Whether all end soon."""
        deadline = time.monotonic() + seconds
        while list(self) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not list(self)


def words(errors: str) -> list[str]:
    """What was said, but for the study's beginning, the ends of trials, and what waits for MLflow on a busy machine."""
    said = [line for line in errors.splitlines() if not line.startswith(("study killed: ", "trial "))]
    return [line for line in said if "records have not reached MLflow" not in line]


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Marked]:
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = Marked(str(tmp_path))
    yield found
    found.signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_signal_to_every_process_leaves_a_study_that_is_whole(tmp_path: Path, marked: Marked) -> None:
    folder = fake_plan(tmp_path, 9, 0.3).folder
    with study_process("run_fake_study.py", tmp_path, 9, 0.3) as process:
        assert wait_until_trained(folder, 3, process), process.communicate()[1]
        began = time.monotonic()
        marked.signal(signal.SIGTERM)
        marked.signal(signal.SIGTERM)  # `timeout` signals its child, and then the child's group
        out, errors = process.communicate(timeout=100)
        took = time.monotonic() - began
        assert process.returncode == 0, errors
        assert out == "interrupted\n"
        assert took < LIMIT
        assert words(errors) == [LINE]
    assert marked.gone()
    ledger = read_ledger(folder)
    assert ledger.attrs["ending"]["status"] == "KILLED"
    assert not any(record.crashes or record.losses for record in ledger.records())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "group", "epochs"),
    [(signal.SIGTERM, True, 3), (signal.SIGINT, True, 3), (signal.SIGHUP, True, 3), (signal.SIGHUP, False, 3),
     (signal.SIGINT, False, 0), (signal.SIGTERM, True, 0)],
)  # fmt: skip
def test_whoever_sends_which(number: int, group: bool, epochs: int, tmp_path: Path, marked: Marked) -> None:
    plan = fake_plan(tmp_path, 6, 0.2)
    with study_process("run_fake_study.py", tmp_path, 6, 0.2) as process:
        if epochs:
            assert wait_until_trained(plan.folder, epochs, process), process.communicate()[1]
        else:  # while Ray starts
            while sum(1 for _ in marked) < 4:
                assert process.poll() is None, process.communicate()[1]
        if group:
            os.killpg(process.pid, number)
        else:
            marked.signal(number)
        out, errors = process.communicate(timeout=LIMIT)
        assert out == "interrupted\n", errors
        assert words(errors) == [LINE]
    assert marked.gone()
    before = trained(plan.folder)
    with open_run_log(None, tmp_path) as log:
        assert run_study(plan, log).outcomes
    assert trained(plan.folder)[: len(before)] == before


@pytest.mark.slow
def test_a_grace_of_ten_seconds_is_enough_where_nobody_leaves(tmp_path: Path, marked: Marked) -> None:
    plan = fake_plan(tmp_path, 6, 0.2)
    with study_process("run_fake_study.py", tmp_path, 6, 0.2) as process:
        assert wait_until_trained(plan.folder, 5, process), process.communicate()[1]
        marked.signal(signal.SIGTERM)
        time.sleep(1.0)
        marked.signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT)
    known = {record.number: dict(record.curve) for record in read_ledger(plan.folder).records()}
    assert sum(map(len, known.values())) >= 3
    with open_run_log(None, tmp_path) as log:
        run_study(plan, log)
    after = {record.number: record.curve for record in read_ledger(plan.folder).records()}
    assert all(curve.items() <= after[number].items() for number, curve in known.items())


@pytest.mark.slow
def test_a_terminal_that_is_closed(tmp_path: Path, marked: Marked) -> None:
    plan = fake_plan(tmp_path, 6, 0.2)
    master, terminal = os.openpty()
    run = [sys.executable, str(Path(__file__).parents[1] / "run_fake_study.py"), str(tmp_path), "6", "0.2"]
    # as a shell does: the terminal becomes that of the session
    words = f"import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({run[0]!r}, {run})"
    process = subprocess.Popen(
        [sys.executable, "-c", words], env=environment(None), stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    deadline = time.monotonic() + 200
    while len(trained(plan.folder)) < 3:
        assert time.monotonic() < deadline
        if select.select([master], [], [], 0.1)[0]:
            os.read(master, 65536)
    os.close(master)
    assert process.wait(LIMIT) == 0
    assert marked.gone()
    assert read_ledger(plan.folder).attrs["ending"]["status"] == "KILLED"
