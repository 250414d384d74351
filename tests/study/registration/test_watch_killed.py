"""A watcher that is killed, twice: what it began is taken over, and every version is evaluated once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from plain_client import NAME, another_bundle, first_bundle, register

from registry.champions.evaluation_claims import CLAIM
from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.records import PREFIX

HERE = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Watching:
    """The program `run_watch.py`, its words read as they come."""

    def __init__(self, home: Path, pack: Any, workers: int, *words: str) -> None:
        command = [sys.executable, str(HERE / "run_watch.py"), str(home), str(pack.path), str(workers), *words]
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        environment.pop("RAY_ADDRESS", None)
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.kinds: Counter[str] = Counter()

    def until(self, kind: str, count: int) -> None:
        """Read its words until it has said so many of a kind, or ended."""
        assert self.process.stdout is not None
        while self.kinds[kind] < count and (line := self.process.stdout.readline()):
            self.kinds[json.loads(line)["kind"]] += 1

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=600)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def workers_of(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    # threads start them, so they are children of threads
    for task in Path(f"/proc/{process}/task").iterdir():
        children += (task / "children").read_text().split()
    return sorted({int(child) for child in children})


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def setting(tmp_path: Path, count: int) -> tuple[Path, RunLog]:
    home = tmp_path / "home"
    log = open_run_log(None, home)
    first = first_bundle(tmp_path / "first")
    for seed in range(count):
        register(log.client, another_bundle(first, tmp_path / f"b{seed}", seed))
    return home, log


def check(log: RunLog, count: int, evaluations: int = 1) -> None:
    """Each evaluated once (by each of several protocols) and judged, one champion, nothing left behind."""
    query = f"tags.`{PREFIX}kind` = 'evaluation'"
    runs = log.client.search_runs([log.connection.experiment_id], query, max_results=500)
    assert [run.info.status for run in runs] == ["FINISHED"] * count * evaluations
    asked = {(run.data.tags[f"{PREFIX}encoder"], run.data.tags[f"{PREFIX}config_digest"]) for run in runs}
    assert len(asked) == len(runs)
    assert {run.data.tags[f"{PREFIX}encoder"] for run in runs} == {f"{NAME}/{i + 1}" for i in range(count)}
    for version in log.client.search_model_versions(f"name = '{NAME}'", max_results=500):
        keys = list(version.tags)
        events = [json.loads(version.tags[key])["kind"] for key in keys if key.startswith(f"{PREFIX}event.")]
        assert events.count("registered") == 1
        assert events.count("evaluated") == evaluations, (version.version, events)
        assert len([key for key in keys if key.startswith(f"{PREFIX}judged.")]) == evaluations
        assert (f"{PREFIX}fine_tuning" in keys) == (evaluations == 2)
        assert not [key for key in keys if key.startswith(CLAIM)]
    assert log.client.get_model_version_by_alias(NAME, "champion")


@pytest.mark.parametrize(("count", "kills"), [(6, (1, 2)), (50, (9, 14))])
def test_killed_twice_each_is_evaluated_once(
    tmp_path: Path, tiny_pack: Any, count: int, kills: tuple[int, ...]
) -> None:
    home, log = setting(tmp_path, count)
    for judged in kills:
        watching = Watching(home, tiny_pack, 2)
        watching.until("judged", judged)
        watching.until("judging", judged + 1)  # so that one is under way
        time.sleep(0.7)
        workers = workers_of(watching.process.pid)
        assert workers
        watching.end(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(alive(worker) for worker in workers):  # they go with their watcher
            assert time.monotonic() < deadline
            time.sleep(0.1)
    watching = Watching(home, tiny_pack, 2)
    watching.until("nothing", 1)
    assert watching.end() == 0
    check(log, count)


def test_killed_in_both_evaluations_each_gets_both_once(tmp_path: Path, tiny_pack: Any) -> None:
    """Killed while versions of another client are judged, and again while they are fine-tuned."""
    count = 4
    home, log = setting(tmp_path, count)
    for begun, done in (("judging", "judged"), ("fine-tuning", "fine-tuned")):
        watching = Watching(home, tiny_pack, 2, "fine-tuning")
        watching.until(done, 1)
        watching.until(begun, 2)
        time.sleep(0.3)
        workers = workers_of(watching.process.pid)
        watching.end(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while any(alive(worker) for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    watching = Watching(home, tiny_pack, 2, "fine-tuning")
    watching.until("nothing", 1)
    assert watching.end() == 0
    check(log, count, evaluations=2)


def test_two_watchers_and_a_killed_worker(tmp_path: Path, tiny_pack: Any) -> None:
    home, log = setting(tmp_path, 6)
    both = [Watching(home, tiny_pack, 1), Watching(home, tiny_pack, 1)]
    both[0].until("judged", 1)
    both[0].until("judging", 2)
    (worker,) = workers_of(both[0].process.pid)
    os.kill(worker, signal.SIGKILL)
    for watching in both:
        watching.until("nothing", 1)
        assert watching.end() == 0
    again = Watching(home, tiny_pack, 1)
    again.until("nothing", 1)
    assert again.end() == 0
    check(log, 6)


def test_a_termination_gives_claims_back(tmp_path: Path, tiny_pack: Any) -> None:
    home, log = setting(tmp_path, 3)
    watching = Watching(home, tiny_pack, 1)
    watching.until("judging", 2)
    assert watching.end(signal.SIGTERM) == 0
    for version in log.client.search_model_versions(f"name = '{NAME}'"):
        assert not [key for key in version.tags if key.startswith(CLAIM)]
    shutil.rmtree(home / "features", ignore_errors=True)  # what is kept there is for speed alone
    watching = Watching(home, tiny_pack, 1)
    watching.until("nothing", 1)
    assert watching.end() == 0
    check(log, 3)
