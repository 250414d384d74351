"""Measures what a long study loses to its engine, and whether that grows: trials that sleep, trials that do nothing.

.venv/bin/python -m benchmarks.engine TRIALS SECONDS    one study, in seconds as JSON; what `measure` starts
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.table import Section, Table, digits, seconds
from benchmarks.trial_overhead import SLOTS, Course, ours

TRIALS, SECONDS = 1000, 2.0
LOSS_LIMIT, GROWTH_LIMIT = 1.15, 1.5
"""Wall time over the ideal, and cost of a trial late in a study over that of an early one."""
TIMEOUT = 3600.0


def measure(quick: bool = False) -> Section:
    """A thousand trials of two seconds, and a thousand of none; forty of a twentieth when quick."""
    trials, length = (40, 0.05) if quick else (TRIALS, SECONDS)
    asleep, idle = in_own_process(trials, length), in_own_process(trials, 0.0)
    ideal = trials * length / SLOTS
    loss, growth = asleep.seconds / ideal, late_over_early(idle.ends)
    missed = []
    if loss > LOSS_LIMIT:
        missed.append(f"{trials} trials of {length:g} s take {digits(loss)} times the ideal, the bar is {LOSS_LIMIT}")
    if growth > GROWTH_LIMIT:
        missed.append(f"a late trial costs {digits(growth)} times an early one, the bar is {GROWTH_LIMIT}")
    rows = (
        ("ideal", seconds(ideal), ""),
        ("the study, from its call to its return", seconds(asleep.seconds), f"{digits(loss)} times the ideal"),
        ("between the first and the last end of a trial", seconds(asleep.ends[-1]), ""),
    )
    early, late = windows(idle.ends)
    costs = (
        ("early", seconds(early), ""),
        ("at the end", seconds(late), f"{digits(growth)} times the early ones"),
    )
    return Section(
        title="A long study",
        shows=f"What the engine costs a study of {trials} trials that sleep for {length:g} s, {SLOTS} at a time, with "
        "journal, checkpoints, sampler (TPE) and scheduler (ASHA); and, of trials that do nothing, the time from the "
        "end of one to the end of the next.",
        baseline="The baseline is the sleeping alone.",
        tables=(Table(("time", "seconds", ""), rows), Table(("trials that do nothing", "each", ""), costs)),
        notes=("Starting Ray is not in it, starting actors is. Without a run log, which is measured by itself.",),
        missed=() if quick else tuple(missed),
    )


def windows(ends: tuple[float, ...]) -> tuple[float, float]:
    """Seconds per trial around the first tenth of a study, and in its last tenth."""
    tenth = max(1, len(ends) // 10)
    early = ends[min(2 * tenth, len(ends) - 1)] - ends[tenth // 2]
    late = ends[-1] - ends[-1 - tenth]
    return early / max(1, min(2 * tenth, len(ends) - 1) - tenth // 2), late / tenth


def late_over_early(ends: tuple[float, ...]) -> float:
    """How many times as long a trial takes at the end."""
    early, late = windows(ends)
    return late / early if early > 0 else 1.0


def in_own_process(trials: int, length: float) -> Course:
    """A study of so many trials of that length. Raises RuntimeError when it fails."""
    # on this machine, whatever cluster the environment names; workers import trial_overhead by its name
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "benchmarks.engine", str(trials), str(length)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"the process that measures the engine ended with {done.returncode}: {last[:300]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Course(found["seconds"], found["first"], tuple(found["ends"]))


def run_here(trials: int, length: float) -> Course:
    """The measurement itself, on a Ray of this process."""
    from study.cluster.cluster import ray_cluster

    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as root, ray_cluster(float(SLOTS)):
        return ours(Path(root), trials, length, tracked=False)


if __name__ == "__main__":
    print(json.dumps(asdict(run_here(int(sys.argv[1]), float(sys.argv[2])))))
