"""What waits for a process of Ray's is said with Ray's own reason, and what can never start ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_plans import MakePlan
from rich.console import Console

from ssl_core.errors import StudyError
from study.cluster import pending_starts, waiting_reasons
from study.cluster.pending_starts import PendingStarts
from study.cluster.waiting_reasons import Waiting, last_words, machine_strain
from study.datasets.object_jobs import run_objects
from study.run.driver import run_study
from tests.installed import environment

ROOT = Path(__file__).resolve().parents[3]

STARTS = """
from study.cluster.cluster import ray_cluster
from study.cluster import pending_starts
pending_starts.watched_start.__wrapped__.__defaults__ = (50.0,)
with ray_cluster(1.0):
    print("it started")
"""


@contextmanager
def taken(cpus: int) -> Iterator[None]:
    """Somebody else holds the cluster's CPUs, until the block has waited for some seconds."""
    import ray

    class Holder:
        def here(self) -> None:
            """It has its process."""

    holder = ray.remote(num_cpus=cpus)(Holder).remote()
    ray.get(holder.here.remote())
    leaves = threading.Timer(2.0, ray.kill, [holder])
    leaves.start()
    try:
        yield
    finally:
        leaves.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE", "LOOK_SECONDS"):
        monkeypatch.setattr(pending_starts, name, 0.3)


@pytest.fixture
def said() -> Console:
    return Console(record=True, width=400, file=open(os.devnull, "w"))  # noqa: PTH123


def test_trials_without_room_are_told_of(ray_two: None, make_plan: MakePlan, impatient: None, said: Console) -> None:
    with taken(2):
        assert run_study(make_plan(trials=2), None, said).outcomes == {"COMPLETE": 2}
    text = said.export_text()
    assert "wait for a process: each asks for 1 CPU, and the cluster has 0 of 2 CPU free (Ray says " in text


def test_so_are_tasks(ray_two: None, impatient: None, said: Console) -> None:
    with taken(2):
        assert run_objects(str, [1, 2], console=said).values == ["1", "2"]
    assert "2 tasks wait for a process: each asks for 1 CPU, and the cluster has 0 of 2 CPU free" in said.export_text()


def test_what_cannot_start_ends(impatient: None) -> None:
    said: list[str] = []
    starts = PendingStarts("trial", said.append, lambda: Waiting("no such machine", limit=0.0))
    starts.tick(["a", "b"])
    time.sleep(0.4)
    with pytest.raises(StudyError, match="2 trials wait for a process: no such machine; this does not change"):
        starts.tick(["a", "b"])
    assert said == ["2 trials wait for a process: no such machine (0 s so far)"]


def test_a_reason_is_said_again_when_it_changes(impatient: None) -> None:
    said: list[str] = []
    reasons = iter(["one", "one", "two"])
    starts = PendingStarts("trial", said.append, lambda: Waiting(next(reasons)))
    for _ in range(4):
        starts.tick(["a"])
        time.sleep(0.4)
    assert [text.partition(" (")[0].rpartition(": ")[2] for text in said] == ["one", "two"]
    starts.tick([])


def test_ray_and_a_dead_process_are_quoted(tmp_path: Path) -> None:
    assert last_words(None) is None
    assert last_words(tmp_path) is None
    (tmp_path / "raylet.err").write_text(
        "Traceback (most recent call last):\n  File ...\nSystemExit: not on this machine\n"
        "[2026-11-30 18:26:02,489 E 23558 23558] (raylet) worker_pool.cc:660: Some workers of the worker "
        "process(25543) have not registered within the timeout. The process is dead, probably it crashed.\n"
    )
    words = last_words(tmp_path)
    assert words is not None
    assert words.startswith("Some workers of the worker process(25543) have not registered")
    assert words.endswith("probably it crashed: SystemExit: not on this machine")


def test_overload_is_said_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(waiting_reasons, "_FEW_BYTES", 0)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    assert machine_strain() is None
    monkeypatch.setattr(os, "getloadavg", lambda: (5.0 * cores, 0.5, 0.5))
    assert machine_strain() == f"this machine has a load of {5 * cores} on {cores} cores"
    monkeypatch.setattr(waiting_reasons, "_FEW_BYTES", 2**60)
    strain = machine_strain()
    assert strain is not None
    assert "MB of memory left" in strain


@pytest.mark.slow
def test_workers_that_die_as_they_start_are_quoted_and_end_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif any('default_worker' in word for word in sys.orig_argv):\n"
        "    raise SystemExit('not on this machine')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", STARTS],
        env=environment(tmp_path, PYTHONPATH=os.pathsep.join(map(str, (tmp_path, ROOT)))),
        capture_output=True, text=True, timeout=230,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    waiting, error = done.stderr.splitlines()[0], done.stderr.splitlines()[-1]
    assert waiting.startswith("waiting for Ray to start (30 s so far): SystemExit: not on this machine")
    assert error.startswith("error: Ray does not start: ")
