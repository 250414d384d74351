"""Runs inputs in a process that may die: one line `target number` in, one line of JSON out.

Memory is limited to what the process has after its start plus one gigabyte; an input has five seconds.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / part) for part in ("fuzz", "reference", "ssl_core", "study"))]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from fuzz_mutations import Case, mutant  # noqa: E402
from fuzz_targets import TARGETS, Target  # noqa: E402
from fuzz_twins import TwinDeclinedError, WrongAnswerError  # noqa: E402

from ssl_core.errors import SplatsweepError  # noqa: E402

SECONDS = 5.0
MEMORY = 2**30


class TooSlow(BaseException):
    """Not an Exception, so that nothing swallows it."""


def input_of(target: str, number: int, seed: int, cases: list[Case]) -> Case:
    """The input of this number; the first ones are the cases as they are."""
    if number < len(cases):
        return cases[number]
    return mutant(cases, np.random.default_rng([seed, zlib.crc32(target.encode()), number]))


def write_case(case: Case, folder: Path) -> None:
    for name, content in case.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def judge(target: Target, case: Case, folder: Path) -> tuple[str, str]:
    """(outcome, detail): accepted, declined (by the twin), refused, or what went wrong."""
    write_case(case, folder)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        found = target.read(folder)
    except TooSlow:
        return "hang", f"more than {SECONDS:g} s"
    except MemoryError:
        return "memory", f"more than {MEMORY:,} bytes"
    except SplatsweepError as error:
        return _refusal(target, error, case, folder)
    except BaseException as error:
        return "crash", f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({_where(error)})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        target.check(folder, found)
    except TwinDeclinedError as declined:
        return "declined", str(declined)[:200]
    except WrongAnswerError as wrong:
        return "wrong", str(wrong)[:300]
    except Exception as error:
        return "wrong", f"the answer cannot be checked: {type(error).__name__}: {error} ({_where(error)})"[:400]
    return "accepted", ""


def _refusal(target: Target, error: SplatsweepError, case: Case, folder: Path) -> tuple[str, str]:
    """A refusal names the file, in one line that may be printed."""
    text = str(error)
    if not isinstance(error, target.refusals):
        return "wrong error", f"{type(error).__name__}: {text[:300]}"
    if not text.isprintable():
        return "unprintable", repr(text[:300])
    if str(folder) not in text:
        return "unnamed", text[:300]
    if len(text) > 1500:
        return "long-winded", f"{len(text)} characters: {text[:200]}"
    return "refused", text.replace(str(folder), "")


def _where(error: BaseException) -> str:
    """The last line of our code that took part."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "ssl_core" in name or not place:
            place = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _limit_memory() -> None:
    """This process may grow by MEMORY and no further. Linux only; elsewhere nothing is limited."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return


def _too_slow(*_: Any) -> None:
    raise TooSlow


def main(seed: int, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_slow)
    answers, sys.stdout = sys.stdout, sys.stderr
    cases = {name: TARGETS[name].cases() for name in names}
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        for name in names:  # imports happen before the limit
            judge(TARGETS[name], cases[name][0], scratch / "first" / name.replace(" ", "-"))
        _limit_memory()
        print(json.dumps({"ready": {name: len(each) for name, each in cases.items()}}), file=answers, flush=True)
        for line in sys.stdin:
            name, _, number = line.strip().rpartition(" ")
            folder = scratch / number
            case = input_of(name, int(number), seed, cases[name])
            outcome, detail = judge(TARGETS[name], case, folder)
            shutil.rmtree(folder, ignore_errors=True)
            print(json.dumps({"outcome": outcome, "detail": detail}), file=answers, flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
