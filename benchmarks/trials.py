"""Runs trial_overhead.py in processes of its own and reads what it prints: Ray and its workers end with each."""

import os
import re
import subprocess
import sys

from benchmarks.machine import ROOT
from benchmarks.table import Comparison, Samples, Section, digits, ratio_table

TRIALS = 20
RUNS = 3
"""Of ours; stock, many times slower, is run once."""
TIMEOUT = 900.0
LINE = re.compile(r"^(?P<side>ours|stock)\b.*?\s(?P<seconds>\d+\.\d+)\s+\d+\.\d+\s*$", flags=re.MULTILINE)


def measure(quick: bool = False) -> Section:
    """Twenty trials that train for no time, on two slots; two trials once when quick."""
    from benchmarks.trial_overhead import LIMIT, SLOTS

    trials, runs = (2, 1) if quick else (TRIALS, RUNS)
    first = run(trials, stock_trials=trials)
    ours = [first["ours"]] + [run(trials, stock_trials=0)["ours"] for _ in range(runs - 1)]
    comparison = Comparison("one trial", Samples(tuple(ours)), Samples((first["stock"],)), show=_seconds)
    kept = comparison.ours.median <= LIMIT
    bar = f"The bar is {LIMIT} s per trial: {'kept' if kept else 'missed'}."
    return Section(
        title="Trial overhead",
        shows=f"What a trial costs beyond its training: {trials} trials that train for no time on {SLOTS} slots, torch "
        "imported in the worker, with journal, run log and checkpoints.",
        baseline="The baseline is stock Ray Tune, which starts a fresh actor for each trial and logs less.",
        tables=(ratio_table([comparison], "stock, fresh actors"),),
        notes=("Starting Ray is in neither; starting the first actors is in both.", bar),
        missed=() if kept or quick else (f"trial overhead is {digits(comparison.ours.median)} s, the bar {LIMIT} s",),
    )


def run(trials: int, stock_trials: int) -> dict[str, float]:
    """Seconds per trial by side, of one process. Raises RuntimeError when it printed none."""
    words = [sys.executable, "-m", "benchmarks.trial_overhead", "--trials", str(trials)]
    words += ["--stock-trials", str(stock_trials)]
    # on this machine, whatever cluster the environment names
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    found = read(done.stdout)
    wanted = {"ours", "stock"} if stock_trials else {"ours"}
    # it leaves with 1 when ours is over its limit: a result all the same
    if not wanted <= set(found):
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"trial_overhead ended with {done.returncode} and no result: {last[:200]}")
    return found


def read(text: str) -> dict[str, float]:
    """`ours ... 0.51 1.0` and `stock ... 4.80 9.4` -> seconds by side."""
    return {match["side"]: float(match["seconds"]) for match in LINE.finditer(text)}


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
