"""Trains every row of `rows.py` with several seeds on one pack, and tells what validation or the test split says.

.venv/bin/python -m benchmarks.pretexts train --pack PACK --out FOLDER [--only NAME ...] [--seeds 0 1 2]
.venv/bin/python -m benchmarks.pretexts test --pack PACK --out FOLDER [--only NAME ...] [--draw-seed 1]
.venv/bin/python -m benchmarks.pretexts tune --pack PACK --out FOLDER [--only NAME ...] [--draw-seed 1]
.venv/bin/python -m benchmarks.pretexts table --out FOLDER

`train` trains and looks at validation objects alone; a run that is there is not made again. `test` evaluates what was
exported on the test split, with label draws that no validation has seen: choose before, and open it once. `tune` goes
on from there: the encoders fine-tuned with those labels, beside training from scratch. Two runs at a
time, one thread each. `table` prints Markdown of what is there.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from benchmarks.pretexts.rows import ROWS
from benchmarks.pretexts.runs import Run, evaluate, train, tune
from benchmarks.pretexts.tables import tables

_SEEDS = (0, 1, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 when a run failed; the others are kept."""
    options = _parse(arguments)
    if options.command == "table":
        print(tables(options.out))
        return 0
    chosen = [row for row in ROWS if options.only is None or row.name in options.only]
    if options.outputs is not None:
        chosen = [
            replace(row, outputs=tuple(name for name in row.outputs if name in options.outputs)) for row in chosen
        ]
    runs = [Run(row, seed, options.pack, options.out, options.draw_seed) for row in chosen for seed in options.seeds]
    return _each({"train": train, "test": evaluate, "tune": tune}[options.command], runs, options.workers)


def _each(do: Callable[[Run], str], runs: Sequence[Run], workers: int) -> int:
    """In processes of one thread each, told as they end."""
    os.environ["OMP_NUM_THREADS"] = "1"
    failed = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(do, run): run for run in runs}
        for number, future in enumerate(as_completed(waiting), 1):
            run = waiting[future]
            error = future.exception()
            failed += error is not None
            text = f"{type(error).__name__}: {error}" if error is not None else future.result()
            print(f"{number} of {len(runs)}  {run.row.name}, seed {run.seed}: {text}", flush=True)
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretexts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["train", "test", "tune", "table"])
    parser.add_argument("--pack", type=Path, help="folder of an object pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs")
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], help="rows; default all")
    parser.add_argument("--outputs", nargs="+", help="that are evaluated and tuned; default all of a row")
    parser.add_argument("--seeds", nargs="+", type=int, default=_SEEDS, help="of pretraining")
    parser.add_argument("--draw-seed", type=int, default=1, help="of the label draws on the test split")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.command != "table" and options.pack is None:
        parser.error("--pack is missing: make one with `splatsweep pack`")
    return options


if __name__ == "__main__":
    sys.exit(main())
