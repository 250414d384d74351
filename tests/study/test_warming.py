"""Processes of a Ray on this machine begin with what trials import."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.cluster.warming import MOST_AHEAD, modules_of
from study.trials import TrialOpener
from tests.study.fake_sessions import FakeConfig, OpenFake

ROOT = Path(__file__).resolve().parents[2]

ASKS = """
import json, os, sys
from unittest import mock

cores = int(sys.argv[1])
with mock.patch("os.sched_getaffinity", lambda pid: set(range(cores))):
    from study.cluster.cluster import ray_cluster

    with ray_cluster(1.0, ("json.tool", "study.no_such_module")):
        import ray

        @ray.remote(num_cpus=1)
        class Worker:
            def has(self):
                return "json.tool" in sys.modules

        print(json.dumps(ray.get(Worker.remote().has.remote())))
"""


@pytest.mark.parametrize("opener", [TrialOpener("cross_modal", "{}", "pack", "0"), OpenFake(FakeConfig())])
def test_the_modules_are_those_of_the_trials(opener) -> None:
    modules = modules_of(opener)
    assert modules[-1] == type(opener).__module__
    for module in modules:
        importlib.import_module(module)


def test_real_trials_need_torch_and_tune_from_the_start() -> None:
    modules = modules_of(TrialOpener("cross_modal", "{}", "pack", "0"))
    code = (
        f"import sys; [__import__(name) for name in {modules!r}]; assert {{'torch', 'ray.tune'}} <= sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("cores", [2, MOST_AHEAD + 1])
def test_a_process_has_them_before_its_first_work(cores: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKS, str(cores)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) is (cores <= MOST_AHEAD)
