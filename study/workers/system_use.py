"""What an epoch used of its machine, measured in the process that trained it: microseconds, and without a library.

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


class SystemUse:
    """Measures from `start` to `read`, again and again."""

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0

    def start(self) -> None:
        """An epoch begins."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Since `start`, by name of metric; what the system does not tell is left out."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
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
