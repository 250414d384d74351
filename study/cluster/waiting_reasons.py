"""Why Ray has not started something yet, in its own words: its placement groups, its logs; and how the machine is."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PREFIX = re.compile(r"^\[[^\]]*\] (?:\(\w+\) )?(?:[\w./]+:\d+: )?")
"""Of a line in Ray's logs: `[2026-11-30 18:26:02,489 E 23558 23558] (raylet) worker_pool.cc:660: `."""
_TELLING = re.compile(r"regist|crashed|start|runtime.env|memory|full\b|refused|denied", re.IGNORECASE)
_NOISE = ("    @ ", "*** ", "PC: ", "Current thread", "Python runtime state", "[state-dump]")
_TAIL_BYTES = 20_000
_FEW_BYTES = 256 * 2**20
"""Memory with which no worker process starts: its libraries take as much."""
LIMIT = 240.0
"""Seconds in which Ray gives up four times on a worker process that does not come up."""


@dataclass(frozen=True)
class Waiting:
    """What keeps workers from starting."""

    reason: str
    # of such a wait after which it is given up; None where it may end at any time
    limit: float | None = None


def machine_strain() -> str | None:
    """`this machine has a load of 12 on 2 cores`, or little memory left; None when neither is so."""
    found = []
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    if load > 2 * cores:
        found.append(f"has a load of {load:.0f} on {cores} cores")
    free = _available_bytes()
    if free is not None and free < _FEW_BYTES:
        found.append(f"has {free / 2**20:.0f} MB of memory left")
    return f"this machine {' and '.join(found)}" if found else None


def without_numbers(text: str) -> str:
    """For telling whether a reason has changed: loads, ids of processes and what is free change all the time."""
    return re.sub(r"\d[\d.]*", "#", text)


def last_words(logs: Path | None) -> str | None:
    """What a Ray of this machine wrote last about why it, or a worker process, did not start."""
    if logs is None:
        return None
    said = [line for name in ("raylet.err", "gcs_server.err") for line in _lines(logs / name)]
    # Ray's own lines, and what a process printed that ended before Ray could give it a log
    own = [line for line in said if _PREFIX.match(line) and _TELLING.search(_PREFIX.sub("", line))]
    theirs = [line for line in said if not _PREFIX.match(line)]
    words = [_PREFIX.sub("", own[-1])] if own else []
    words += [theirs[-1]] if theirs else []
    if not words:
        setup = [line for line in _lines(logs / "runtime_env_agent.log") if " ERROR " in line or "rror:" in line]
        words = setup[-1:]
    return _short(": ".join(word.strip().rstrip(".") for word in words)) if words else None


def why_trials_wait(needed: Mapping[str, float], logs: Path | None, here: bool) -> Waiting:
    """For trials that wait for their processes, by the placement groups that Tune made for them.

    Args:
        needed: resources of a trial.
        logs: of Ray, where it runs on this machine.
        here: this driver started it, and nobody else uses it.
    """
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    groups = [group for group in placement_group_table().values() if group["placement_group_id"].endswith(job)]
    states = Counter(group["stats"]["scheduling_state"] for group in groups if group["state"] == "PENDING")
    if states["INFEASIBLE"]:
        text = f"no machine of the cluster has {_words(needed)}, which one trial asks for (Ray says INFEASIBLE)"
        return Waiting(text, 0.0 if here else None)
    if states:
        return Waiting(f"{_room(needed)} (Ray says {states.most_common(1)[0][0]})")
    return _no_process(logs, here)


def why_tasks_wait(needed: Mapping[str, float], logs: Path | None, here: bool) -> Waiting:
    """The same for tasks, which have no placement groups: what is free says it, if Ray itself does not."""
    import ray

    free = ray.available_resources()
    if any(free.get(name, 0.0) < value for name, value in needed.items()) and not (here and last_words(logs)):
        return Waiting(_room(needed))
    return _no_process(logs, here)


def _no_process(logs: Path | None, here: bool) -> Waiting:
    words, strain = last_words(logs), machine_strain()
    unsaid = f"Ray gives no reason yet; its logs are in {logs or '/tmp/ray/session_latest/logs of its machines'}"
    text = "; ".join(filter(None, (words, strain))) or unsaid
    # without a word the process may be reading its libraries from a slow disk
    limit = LIMIT * (3 if strain else 1) if here and words else None
    return Waiting(f"Ray's worker processes have not come up: {text}", limit)


def _words(needed: Mapping[str, float]) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in needed.items() if value)


def _room(needed: Mapping[str, float]) -> str:
    import ray

    free, whole = ray.available_resources(), ray.cluster_resources()
    there = ", ".join(f"{free.get(n, 0):g} of {whole.get(n, 0):g} {n}" for n, value in needed.items() if value)
    return f"each asks for {_words(needed)}, and the cluster has {there} free"


def _available_bytes() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def _lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line for line in text.splitlines() if line.strip()]
    return [line for line in lines if not _PREFIX.sub("", line).startswith(_NOISE)]


def _short(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:399]}…"
