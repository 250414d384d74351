"""Runs the measurements, prints their tables and writes docs/BENCHMARKS.md.

.venv/bin/python -m benchmarks                      all of them, more than an hour
.venv/bin/python -m benchmarks --only rasteriser    one, the other sections of the page stay
.venv/bin/python -m benchmarks --quick              tiny sizes, nothing is written
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, assert_never, get_args

if TYPE_CHECKING:
    from benchmarks.table import Section

Name = Literal[
    "trials", "engine", "tracking", "suggestions", "search", "planning", "gpu-packing",
    "rasteriser", "backbones", "input", "extraction", "evaluations", "packing", "splatting",
    "scene-fit",
]  # fmt: skip
NAMES: tuple[Name, ...] = get_args(Name)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "BENCHMARKS.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 when a measurement failed or a bar was missed; sections that could be measured are written."""
    options = _parse(arguments)
    # before numpy is imported: libraries read it once
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does
    problems: list[str] = []
    for name in options.only or NAMES:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            problems += run(name, quick=options.quick, out=options.out)
        except Exception as error:  # the others can still be measured
            traceback.print_exc()
            problems.append(f"{name} was not measured: {type(error).__name__}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def run(name: Name, *, quick: bool, out: Path | None) -> tuple[str, ...]:
    """Measure, print and, with `out`, renew one section of that page. Returns the bars that were missed."""
    from benchmarks import machine, page
    from benchmarks.table import wrapped

    load, started = machine.describe_load(), time.perf_counter()
    section = measure(name, quick)
    measured = wrapped(
        f"*Measured on {machine.today()} at {machine.describe_revision()} in {time.perf_counter() - started:.0f} s on "
        f"{machine.describe_machine()}; {load}{'; tiny sizes, good for nothing but a trial run' if quick else ''}.*"
    )
    print(f"{section.text()}\n\n{measured}\n", flush=True)
    if out is not None:
        page.renew(out, name, page.block(name, section, measured), NAMES)
    return section.missed


def measure(name: Name, quick: bool) -> "Section":
    """One section; what it needs is imported now, because some of it takes seconds."""
    match name:
        case "trials":
            from benchmarks import trials as chosen
        case "engine":
            from benchmarks import engine as chosen
        case "tracking":
            from benchmarks import tracking as chosen
        case "suggestions":
            from benchmarks import suggestions as chosen
        case "search":
            from benchmarks import search as chosen
        case "planning":
            from benchmarks import planning as chosen
        case "gpu-packing":
            from benchmarks import gpu_packing as chosen
        case "rasteriser":
            from benchmarks import rasteriser as chosen
        case "backbones":
            from benchmarks import backbones as chosen
        case "input":
            from benchmarks import input_pipeline as chosen
        case "extraction":
            from benchmarks import extraction as chosen
        case "evaluations":
            from benchmarks import evaluations as chosen
        case "packing":
            from benchmarks import packing as chosen
        case "splatting":
            from benchmarks import splatting as chosen
        case "scene-fit":
            from benchmarks import scene_fit as chosen
        case _:
            assert_never(name)
    return chosen.measure(quick)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is written unless --out is given")
    parser.add_argument("--out", type=Path, help="page to write (default docs/BENCHMARKS.md)")
    options = parser.parse_args(arguments)
    if options.out is None and not options.quick:
        options.out = PAGE
    return options


if __name__ == "__main__":
    sys.exit(main())
