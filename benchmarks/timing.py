"""Times two ways of doing the same work, turn by turn, so that a disturbance of the machine meets both."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmarks.table import Comparison, Samples

Work = Callable[[], object]


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes in one thread inside, as a trial on a CPU does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(what: str, ours: Work, baseline: Work, repetitions: int, at_least: float) -> Comparison:
    """Seconds per call of both, `repetitions` times each; who goes first alternates.

    Args:
        what: the name of the row.
        ours: one way. Callers check first that both ways agree, which also warms them up.
        baseline: the other.
        repetitions: how many pairs.
        at_least: seconds; shorter work is repeated within a repetition until this long has passed.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(repetitions):
        for side in (0, 1) if repetition % 2 == 0 else (1, 0):
            times[side].append(seconds_per_call((ours, baseline)[side], at_least))
    return Comparison(what, Samples(tuple(times[0])), Samples(tuple(times[1])))


def seconds_per_call(work: Work, at_least: float) -> float:
    """Mean wall time of one call, over as many calls as `at_least` seconds hold."""
    calls, started = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        passed = time.perf_counter() - started
        if passed >= at_least:
            return passed / calls
