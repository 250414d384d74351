"""The machine, the date and the revision in words: never a host name, a user or a path."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def describe_machine() -> str:
    """CPU model, usable cores, memory, interpreter, torch, GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [f"{_cpu_model()} with {cores} usable core{'s' if cores > 1 else ''}"]
    memory = _memory_gib()
    parts += [f"{memory:.0f} GiB of memory"] if memory is not None else []
    parts += [f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}", _gpu()]
    return ", ".join(parts)


def describe_load() -> str:
    """How busy the machine was with other things; to be asked before measuring."""
    return f"load average {os.getloadavg()[0]:.1f} before it" if hasattr(os, "getloadavg") else "load unknown"


def describe_revision() -> str:
    """Short git revision of the checkout, and whether more has changed than the page of results."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":(exclude)docs/BENCHMARKS.md")
    except (OSError, subprocess.SubprocessError):
        return "unknown revision"
    return f"revision {revision}{' with uncommitted changes' if changed else ''}"


def today() -> str:
    """The date in UTC, year first."""
    return datetime.now(UTC).date().isoformat()


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _cpu_model() -> str:
    info = _proc("cpuinfo")
    return info.get("model name") or platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    total = _proc("meminfo").get("MemTotal", "").split()
    return int(total[0]) / 2**20 if total else None


def _proc(name: str) -> dict[str, str]:
    """`key: value` lines of a file under /proc; empty where there is none. The first of equal keys counts."""
    found: dict[str, str] = {}
    try:
        lines = Path("/proc", name).read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "no GPU"
    count = torch.cuda.device_count()
    return f"{count} x {torch.cuda.get_device_name(0)}" if count > 1 else torch.cuda.get_device_name(0)
