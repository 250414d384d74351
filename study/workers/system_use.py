"""What epochs used of their machine, measured in the process that trained them: microseconds, and without a library.

system/process_cpu_percentage       time of this process on all cores; 100 is one core that was busy all the epoch
system/process_memory_megabytes     its resident set at the end of the epoch
system/machine_load                 processes that wanted a core, mean over the last minute (`os.getloadavg`)
system/gpu_memory_megabytes         used on its GPU at the end of the epoch, by all processes; absent on the CPU
system/gpu_memory_percentage        the same as a share of the device

MLflow shows names that begin with `system/` on a page of their own.
"""

import os
import sys
import time
from pathlib import Path

MEGA = 1e6
BETWEEN_SECONDS = 2.0
"""between two samples: shorter epochs share one, so that they do not send more of these than of their own metrics"""


class SystemUse:
    """Samples the epochs of one trial after the other."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None  # wall and process time of what is not sampled yet
        self._last = float("-inf")

    def forget(self) -> None:
        """Another trial begins; its first epoch is sampled."""
        self._began, self._last = None, float("-inf")

    def start(self) -> None:
        """An epoch begins."""
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """An epoch has ended: metrics of it and of those since the last sample, or none yet.

        What the system does not tell is left out.
        """
        now = time.perf_counter()
        if self._began is None or now - self._last < BETWEEN_SECONDS:
            return {}
        wall, cpu = now - self._began[0], time.process_time() - self._began[1]
        self._began, self._last = None, now
        found = {"process_cpu_percentage": 100 * cpu / max(wall, 1e-9), **_memory(), **_load(), **_gpu()}
        return {f"system/{name}": round(value, 3) for name, value in found.items()}


def _memory() -> dict[str, float]:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return {}
    return {"process_memory_megabytes": pages * os.sysconf("SC_PAGE_SIZE") / MEGA}


def _load() -> dict[str, float]:
    try:
        return {"machine_load": os.getloadavg()[0]}
    except (OSError, AttributeError):
        return {}


def _gpu() -> dict[str, float]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():  # a trial on the CPU must not make a context
        return {}
    free, total = torch.cuda.mem_get_info()
    used = total - free
    return {"gpu_memory_megabytes": used / MEGA, "gpu_memory_percentage": 100 * used / total}
