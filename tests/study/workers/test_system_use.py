"""What an epoch used of its machine."""

import sys
import time
from pathlib import Path

import pytest

from study.workers.system_use import SystemUse


def test_a_busy_process_and_one_that_sleeps() -> None:
    use = SystemUse()
    use.start()
    deadline = time.process_time() + 0.05
    while time.process_time() < deadline:
        pass
    busy = use.read()
    use.start()
    time.sleep(0.05)
    idle = use.read()
    assert 0 <= idle["system/process_cpu_percentage"] < busy["system/process_cpu_percentage"]
    assert idle["system/process_cpu_percentage"] < 50, "it slept"
    assert busy.keys() == idle.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_memory_is_the_resident_set_of_this_process() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    found = SystemUse().read()["system/process_memory_megabytes"]
    assert found == pytest.approx(kilobytes * 1024 / 1e6, rel=0.1)


def test_measuring_takes_well_under_a_millisecond() -> None:
    use = SystemUse()
    times = []
    for _ in range(50):
        began = time.process_time()
        use.start()
        use.read()
        times.append(time.process_time() - began)
    assert sorted(times)[25] < 1e-3
