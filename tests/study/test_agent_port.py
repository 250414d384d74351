"""Ray starts at once where another has its agent's port."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster.agent_port import any_agent_port

ROOT = Path(__file__).resolve().parents[2]
USUAL = 52365

STARTS = """
from study.cluster.cluster import ray_cluster

with ray_cluster(1.0):
    import ray
    from ray._private.worker import global_worker

    print(ray.nodes()[0]["Alive"], global_worker.node.dashboard_agent_listen_port)
"""


def test_it_is_undone() -> None:
    from ray._private import parameter

    usual = parameter.RayParams
    with any_agent_port():
        assert parameter.RayParams().dashboard_agent_listen_port == 0
    assert parameter.RayParams is usual
    with pytest.raises(RuntimeError), any_agent_port():
        raise RuntimeError
    assert parameter.RayParams is usual
    assert parameter.RayParams().dashboard_agent_listen_port == USUAL


def test_another_version_of_ray_is_left_alone(monkeypatch) -> None:
    from ray._private import parameter

    monkeypatch.delattr(parameter, "RayParams")
    with any_agent_port():
        assert not hasattr(parameter, "RayParams")


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
