"""How many trials share a GPU: by memory, by CPUs, and what Ray makes of the share."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.record.metrics_file import metrics_path
from study.workers.gpu_share import (
    CONTEXT_BYTES,
    MARGIN,
    MeasuredNeeds,
    measured_needs,
    measured_share,
    trials_by_cpus,
    trials_per_gpu,
)

GIB = 2**30
HERE = Path(__file__).resolve().parents[1]

sizes = st.floats(0, 200 * GIB)
devices = st.floats(GIB, 200 * GIB)
counts = st.integers(1, 64)


@given(sizes, devices, counts)
def test_what_is_said_to_fit_fits_with_a_margin(peak, device, most):
    count = trials_per_gpu(MeasuredNeeds(peak, device), most)
    assert 1 <= count <= most
    if count > 1:
        assert count * MARGIN * (peak + CONTEXT_BYTES) <= device * (1 + 1e-9)


@given(sizes, sizes, devices)
def test_a_larger_trial_never_gets_a_smaller_share(one, other, device):
    small, large = sorted((one, other))
    assert measured_share(MeasuredNeeds(large, device), 64, 1, 1) >= measured_share(
        MeasuredNeeds(small, device), 64, 1, 1
    )


@given(sizes, devices, st.integers(1, 128), st.integers(1, 8), st.integers(1, 8))
def test_a_share_is_one_of_a_whole_number_that_ray_can_hold(peak, device, cpus, gpus, per_trial):
    share = measured_share(MeasuredNeeds(peak, device), cpus, gpus, per_trial)
    count = math.floor(1 / share + 1e-9)
    assert share == pytest.approx(1 / count, rel=0.01)
    assert round(share * 10_000) * count <= 10_000, "Ray counts in ten-thousandths"
    assert count == 1 or count * gpus * per_trial <= cpus, "each trial has its CPUs"


def test_known_cases():
    eighty = MeasuredNeeds(3 * GIB, 80 * GIB)
    assert trials_per_gpu(eighty) == 18
    assert measured_share(eighty, cpus=16, gpus=2, cpus_per_trial=1) == 1 / 8, "eight CPUs for each GPU"
    assert measured_share(eighty, cpus=16, gpus=2, cpus_per_trial=4) == 1 / 2
    assert measured_share(MeasuredNeeds(70 * GIB, 80 * GIB), 16, 2, 1) == 1.0
    assert measured_share(None, 16, 2, 1) == 1.0, "a whole one before anything was measured"
    assert measured_share(None, 16, 0, 1) == 0.0
    assert trials_by_cpus(0.5, 1, 1) == 1


def test_needs_are_read_from_what_trials_reported(tmp_path):
    def report(number, **metrics):
        path = metrics_path(tmp_path, number)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"epoch": 1, **metrics}) + "\n")

    assert measured_needs(tmp_path, [0, 1]) is None, "nothing was reported"
    report(0, **{"cost/peak_memory_bytes": 9e9})
    assert measured_needs(tmp_path, [0, 1]) is None, "it ran on the CPU: its memory says nothing of a GPU"
    report(1, **{"cost/peak_memory_bytes": 2e9, "cost/device_memory_bytes": 80e9})
    report(2, **{"cost/peak_memory_bytes": 3e9, "cost/device_memory_bytes": 40e9})
    assert measured_needs(tmp_path, [0, 1, 2, 3]) == MeasuredNeeds(3e9, 40e9)


_HOLD = """
import json, os, time
import ray
from study.cluster.cluster import QUIET, enlarged
from study.workers.gpu_share import MeasuredNeeds, measured_share
for name, value in QUIET.items():
    os.environ.setdefault(name, value)
ray.init(address="local", num_cpus=8, num_gpus=1, include_dashboard=False, log_to_driver=False,
         logging_level="ERROR", object_store_memory=80 * 2**20)

def most_at_once(share, trials=6):
    usual = {"CPU": 1.0, "GPU": measured_share(MeasuredNeeds(20e9, 80e9), 8, 1, 1)}
    given = enlarged(usual, share)
    options = {"num_cpus": given["CPU"], "num_gpus": given["GPU"]}
    task = ray.remote(lambda: (time.time(), time.sleep(1.0), time.time()))
    spans = [(a, b) for a, _, b in ray.get([task.options(**options).remote() for _ in range(trials)])]
    return max(sum(a <= moment < b for a, b in spans) for moment, _ in spans)

most_at_once(1.0, trials=3)  # workers start
print(json.dumps([measured_share(MeasuredNeeds(20e9, 80e9), 8, 1, 1), most_at_once(1.0), most_at_once(2.0)]))
"""


@pytest.mark.slow
def test_ray_runs_as_many_at_once_as_fit_and_half_with_twice_the_share():
    """On one logical GPU: no device is needed for Ray to count."""
    done = subprocess.run(
        [sys.executable, "-c", _HOLD], cwd=HERE.parents[1], capture_output=True, text=True, timeout=200,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    share, usual, doubled = json.loads(done.stdout.splitlines()[-1])
    assert (share, usual, doubled) == (0.3333, 3, 1), "a third of it; with two thirds each, one at a time"
