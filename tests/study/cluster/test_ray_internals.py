"""Ray starts at once where another has its agent's port, and trials run in the processes that wait."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster.ray_internals import actors_in_waiting_processes, any_agent_port

ROOT = Path(__file__).resolve().parents[3]
USUAL = 52365

STARTS = """
from study.cluster.cluster import ray_cluster

with ray_cluster(1.0):
    import ray
    from ray._private.worker import global_worker

    print(ray.nodes()[0]["Alive"], global_worker.node.dashboard_agent_listen_port)
"""

TRIES = """
import os, time
from pathlib import Path
from study.cluster.cluster import ray_cluster
from study.cluster.ray_internals import actors_in_waiting_processes


def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def waiting():  # processes of this Ray, and of no other one, that have nothing to do
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::IDLE" in (folder / "cmdline").read_bytes() and parent(parent(folder.name)) == os.getpid():
                found.add(int(folder.name))
        except OSError:
            pass  # it has ended meanwhile
    return found


with ray_cluster(2.0) as offered:
    from ray import tune

    class Tells(tune.Trainable):
        def step(self):
            return {"process": os.getpid(), "done": True}

    deadline = time.monotonic() + 60
    while len(ahead := waiting()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    with actors_in_waiting_processes():
        done = tune.run(Tells, num_samples=2, verbose=0)
    print(offered.here, {trial.last_result["process"] for trial in done.trials} <= ahead)
"""


@pytest.mark.parametrize("usual", [any_agent_port, actors_in_waiting_processes])
def test_ray_is_as_it_was(usual) -> None:
    from ray._private import parameter
    from ray.tune.execution import tune_controller

    before = parameter.RayParams, tune_controller._ActorClassCache
    with usual():
        assert (parameter.RayParams, tune_controller._ActorClassCache) != before
    with pytest.raises(RuntimeError), usual():
        raise RuntimeError
    assert (parameter.RayParams, tune_controller._ActorClassCache) == before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_trials_run_in_the_processes_that_were_waiting() -> None:
    done = subprocess.run([sys.executable, "-c", TRIES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["True", "True"]


def test_the_port_is_any() -> None:
    from ray._private import parameter

    assert parameter.RayParams().dashboard_agent_listen_port == USUAL
    with any_agent_port():
        assert parameter.RayParams().dashboard_agent_listen_port == 0


def test_another_version_of_ray_is_left_alone(monkeypatch) -> None:
    from ray._private import parameter
    from ray.tune.execution import tune_controller

    monkeypatch.delattr(parameter, "RayParams")
    monkeypatch.delattr(tune_controller, "_ActorClassCache")
    with any_agent_port(), actors_in_waiting_processes():
        assert not hasattr(parameter, "RayParams")
        assert not hasattr(tune_controller, "_ActorClassCache")


@pytest.mark.slow
def test_the_agent_takes_another_port() -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("", USUAL))
            taken.listen()
        except OSError:
            pass  # another Ray has it, which is the same to this one
        done = subprocess.run([sys.executable, "-c", STARTS], cwd=ROOT, capture_output=True, text=True, check=True)
    alive, port = done.stdout.split()
    assert alive == "True"
    assert int(port) not in (0, USUAL)
