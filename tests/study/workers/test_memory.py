"""What counts as running out of memory, from the errors themselves where they can be had."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from study.spec.outcome import one_line
from study.workers.trial_runner import is_out_of_memory

ROOT = Path(__file__).resolve().parents[3]

SIGKILLED = (
    "The actor died unexpectedly before finishing this task. The actor is dead because its worker process has died. "
    "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. "
    "There are some potential root causes. (1) The process is killed by SIGKILL by OOM killer due to high memory usage."
)


def raised(call):
    with pytest.raises(BaseException) as caught:  # which one is what the test is about
        call()
    return caught.value


@pytest.mark.parametrize(
    "call",
    [lambda: torch.empty(10**15), lambda: np.empty(10**16), lambda: bytearray(10**15)],
    ids=["torch on the CPU", "numpy", "Python"],
)
def test_errors_of_this_process(call):
    error = raised(call)
    assert is_out_of_memory(error)
    assert is_out_of_memory(one_line(error)), "the text alone, as it comes from another process"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        MemoryError(),
    ],
    ids=repr,
)
def test_errors_that_need_another_machine(error):
    assert is_out_of_memory(error)
    assert is_out_of_memory(one_line(error))


@pytest.mark.parametrize(
    "text",
    [
        SIGKILLED,
        "CUDA error: an illegal memory access was encountered",
        "OSError: [Errno 28] No space left on device",
        "ValueError: memory format is not supported",
        "",
    ],
)
def test_what_does_not_count(text):
    assert not is_out_of_memory(text)
    assert not is_out_of_memory(RuntimeError(text))


_MONITOR = """
import json, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         object_store_memory=80 * 2**20)

@ray.remote(max_restarts=0)
class Greedy:
    def hold(self, seconds):
        import time
        self.held = bytearray(64 * 2**20)
        time.sleep(seconds)

try:
    ray.get(Greedy.remote().hold.remote(60), timeout=60)
    print(json.dumps(["none", ""]))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.slow
def test_rays_own_words_when_its_memory_monitor_kills_a_worker():
    """On a Ray that thinks any use of memory too much."""
    monitor = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}
    done = subprocess.run(
        [sys.executable, "-c", _MONITOR],
        env={**os.environ, **monitor},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    name, text = json.loads(done.stdout.splitlines()[-1])
    assert is_out_of_memory(f"{name}: {text}"), (name, text)
