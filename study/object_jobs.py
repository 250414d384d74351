"""The same work on many objects, as Ray tasks: a bar with an estimate, errors collected, Ctrl-C obeyed."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ssl_core.errors import SplatsweepError
from study.cluster import ray_cluster
from study.outcome import one_line

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Failure(Generic[T]):
    """An item that could not be done, and why."""

    item: T
    reason: str


@dataclass(frozen=True)
class JobResults(Generic[T, R]):
    """Values of the items that were done and failures of the others, each in the order of the items."""

    values: list[R]
    failures: list[Failure[T]]


def run_objects(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int = 0,
    describe: str = "objects",
    console: Console | None = None,
) -> JobResults[T, R]:
    """Map a picklable function over items, one CPU and one thread each.

    Args:
        function: runs in a Ray worker.
        items: picklable.
        workers: at most this many at a time; 0 means all CPUs of the cluster.
        describe: label of the bar.
        console: for the bar; standard error by default.

    Returns:
        Values and failures. Errors do not stop the others.

    Raises:
        KeyboardInterrupt: after cancelling what runs. Finished items are lost to the caller, not on disk.
        StudyError: nobody answers at RAY_ADDRESS.
    """
    if not items:
        return JobResults([], [])
    with ray_cluster(float(workers or 1)) as offered, _bar(console) as bar:
        at_once = min(workers or max(1, int(offered.cpus)), len(items))
        shown = bar.add_task(describe, total=len(items))
        done = _run(function, items, at_once, lambda: bar.advance(shown))
    return JobResults(
        values=[done[place][0] for place in range(len(items)) if done[place][1] is None],  # type: ignore[misc]
        failures=[
            Failure(items[place], reason) for place in range(len(items)) if (reason := done[place][1]) is not None
        ],
    )


def _run(
    function: Callable[[T], R], items: Sequence[T], at_once: int, advance: Callable[[], None]
) -> dict[int, tuple[R | None, str | None]]:
    """Place of the item -> (value, reason it failed)."""
    import ray

    @ray.remote(num_cpus=1, max_retries=1)
    def work(job: Callable[[T], R], item: T) -> tuple[R | None, str | None]:
        return _guarded(job, item)

    shared = ray.put(function)
    results: dict[int, tuple[R | None, str | None]] = {}
    waiting, running = deque(enumerate(items)), dict[Any, int]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                place, item = waiting.popleft()
                running[work.remote(shared, item)] = place
            for reference in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                place = running.pop(reference)
                results[place] = _collect(ray, reference)
                advance()
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
    return results


def _guarded(job: Callable[[T], R], item: T) -> tuple[R | None, str | None]:
    """Errors of ours are for people and travel as their text; others keep their kind."""
    try:
        return job(item), None
    except SplatsweepError as error:
        return None, str(error)
    except Exception as error:
        return None, one_line(error)


def _collect(ray: Any, reference: Any) -> tuple[Any, str | None]:
    try:
        value, reason = ray.get(reference)
    except ray.exceptions.RayError as failure:
        return None, f"the worker process died ({one_line(failure, 160)})"
    return value, reason


def _bar(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
    )
