"""What an epoch used of its machine."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from study.workers import system_use
from study.workers.system_use import SystemUse


def sampled(work: Callable[[], object]) -> dict[str, float]:
    use = SystemUse()
    use.start()
    work()
    return use.read()


def spin() -> None:
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass


def test_a_busy_process_and_one_that_sleeps() -> None:
    busy, idle = sampled(spin), sampled(lambda: time.sleep(0.05))
    assert 0 <= idle["system/process_cpu_percentage"] < busy["system/process_cpu_percentage"]
    assert idle["system/process_cpu_percentage"] < 50, "it slept"
    assert busy.keys() == idle.keys()


def test_short_epochs_share_a_sample_and_every_trial_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    use, told = SystemUse(), []
    for _ in range(3):
        use.start()
        told.append(bool(use.read()))
    assert told == [True, False, False]
    use.start()
    spin()
    monkeypatch.setattr(system_use, "BETWEEN_SECONDS", 0.0)
    assert use.read()["system/process_cpu_percentage"] > 1, "of all epochs since the last sample"
    monkeypatch.undo()
    use.forget()
    use.start()
    assert use.read(), "of another trial"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_is_the_resident_set_of_this_process() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    found = sampled(bool)["system/process_memory_megabytes"]
    assert found == pytest.approx(kilobytes * 1024 / 1e6, rel=0.1)


def test_measuring_takes_well_under_a_millisecond() -> None:
    times = []
    for _ in range(50):
        began = time.process_time()
        sampled(bool)
        times.append(time.process_time() - began)
    assert sorted(times)[25] < 1e-3
