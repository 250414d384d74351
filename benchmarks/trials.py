"""Measures trial_overhead.py in a process of its own: Ray and its workers start and end with it.

.venv/bin/python -m benchmarks.trials TRIALS RUNS    what `measure` starts; prints the seconds as JSON
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.machine import ROOT
from benchmarks.table import Comparison, Samples, Section, Table, ratio_table

TRIALS = 20
RUNS = 3
"""Of ours; stock, many times slower, is run once."""
TIMEOUT = 900.0

Seconds = dict[str, list[float]]


def measure(quick: bool = False) -> Section:
    """Twenty trials that train for no time, on two slots; two trials once when quick."""
    from benchmarks.trial_overhead import LIMIT, SLOTS

    trials = 2 if quick else TRIALS
    found = in_own_process(trials, 1 if quick else RUNS)
    sides = Samples(tuple(found["ours"])), Samples(tuple(found["stock"]))
    comparison = Comparison(f"one of {trials} trials", *sides, show=_seconds)
    middle = comparison.ours.median
    kept = middle <= LIMIT
    bar = "" if quick else f" The bar for ours is {LIMIT} s per trial: {'kept' if kept else 'missed'}."
    return Section(
        title="Trial overhead",
        shows=f"What a trial costs beyond its training: wall time of {trials} trials that train for no time, {SLOTS} "
        f"at once, divided by {trials}; with journal, run log, checkpoints and report, torch imported in the worker.",
        baseline="The baseline is stock Ray Tune: a fresh actor per trial, OptunaSearch, its own loggers, no run log.",
        tables=(ratio_table([comparison], "stock, fresh actors"), _parts(found)),
        notes=(f"Starting Ray is in neither; starting actors is in both.{bar}",),
        missed=() if kept or quick else (f"a trial costs {middle:.2f} s beyond its training, the bar is {LIMIT} s",),
    )


def in_own_process(trials: int, runs: int) -> Seconds:
    """Seconds per trial of `runs` runs of ours and one of stock. Raises RuntimeError when none are told."""
    # on this machine, whatever cluster the environment names; workers import trial_overhead by its name
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    words = [sys.executable, "-m", "benchmarks.trials", str(trials), str(runs)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"the process that measures trials ended with {done.returncode}: {last[:300]}")
    found: Seconds = json.loads(done.stdout.splitlines()[-1])
    return found


def run_here(trials: int, runs: int) -> Seconds:
    """The measurement itself, each study on a Ray of its own."""
    from benchmarks.trial_overhead import ours, stock

    found: Seconds = {"ours": [], "stock": [], "starting": [], "first": [], "others": [], "after": []}
    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as root:
        for number in range(runs):
            folder = Path(root, str(number))
            folder.mkdir()
            # a Ray of its own for each, as a command has
            with _ray(found["starting"]):
                course = ours(folder, trials)
            found["ours"].append(course.seconds / trials)
            found["first"].append(course.first)
            found["others"].append(course.ends[-1] / (trials - 1))
            found["after"].append(course.seconds - course.first - course.ends[-1])
        with _ray([]):
            found["stock"].append(stock(Path(root), trials))
    return found


@contextmanager
def _ray(seconds: list[float]) -> Iterator[None]:
    """A Ray for one study; how long it took to start is appended."""
    from benchmarks.trial_overhead import SLOTS
    from study.cluster.cluster import ray_cluster

    began = time.perf_counter()
    with ray_cluster(float(SLOTS)):
        seconds.append(time.perf_counter() - began)
        yield


def _parts(found: Seconds) -> Table:
    """Where our seconds go."""
    rows = (
        ("before, and not in it: starting Ray", _seconds(median(found["starting"]))),
        ("until the first trial ends: actors start and import torch", _seconds(median(found["first"]))),
        ("from the end of one trial to that of the next", _seconds(median(found["others"]))),
        ("after the last: report, and until MLflow has everything", _seconds(median(found["after"]))),
    )
    return Table(("in a study of ours", "median"), rows)


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


if __name__ == "__main__":
    print(json.dumps(run_here(int(sys.argv[1]), int(sys.argv[2]))))
