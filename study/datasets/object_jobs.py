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
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ssl_core.errors import SplatsweepError
from study.cluster.cluster import ray_cluster
from study.cluster.pending_starts import PendingStarts
from study.cluster.ray_tasks import pending_tasks, task_of
from study.reports.console import LinedProgress
from study.spec.outcome import one_line

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Failure(Generic[T]):
    """An item that could not be done, and why; `error` when it is one of ours."""

    item: T
    reason: str
    error: SplatsweepError | None = None


@dataclass(frozen=True)
class JobResults(Generic[T, R]):
    """Values of the items that were done and failures of the others, each in the order of the items."""

    values: list[R]
    failures: list[Failure[T]]


@dataclass(frozen=True)
class Weight:
    """What an item counts for in the bar: objects, and bytes that are read for them."""

    objects: int = 1
    bytes: int = 0


def run_objects(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int = 0,
    describe: str = "objects",
    console: Console | None = None,
    weights: Sequence[Weight] | None = None,
    fatal: tuple[type[SplatsweepError], ...] = (),
) -> JobResults[T, R]:
    """Map a picklable function over items, one CPU and one thread each.

    Args:
        function: runs in a Ray worker.
        items: picklable.
        workers: at most this many at a time; 0 means all CPUs of the cluster.
        describe: label of the bar.
        console: for the bar; standard error by default.
        weights: one per item, when an item is several objects; the bar then also says objects and megabytes per second.
        fatal: errors that would meet every other item too: the first of them ends the whole.

    Returns:
        Values and failures. Errors do not stop the others.

    Raises:
        KeyboardInterrupt: after cancelling what runs. Finished items are lost to the caller, not on disk.
        StudyError: nobody answers at RAY_ADDRESS. One of `fatal`: after cancelling what runs.
    """
    if not items:
        return JobResults([], [])
    weighed = [Weight()] * len(items) if weights is None else list(weights)
    with ray_cluster(float(workers or 1)) as offered, object_bar(console, speed=weights is not None) as bar:
        at_once = min(workers or max(1, int(offered.cpus)), len(items))
        shown = bar.add_task(describe, total=sum(weight.objects for weight in weighed), bytes=0)
        starts = pending_tasks(
            lambda text: bar.console.print(text, soft_wrap=True, highlight=False, markup=False), offered
        )
        jobs = _Jobs(function, items, at_once, fatal, starts)
        done = jobs.run(lambda place: advance(bar, shown, weighed[place]))
    ordered = [done[place] for place in range(len(items))]
    failures = [found for found in ordered if isinstance(found, Failure)]
    return JobResults([found for found in ordered if not isinstance(found, Failure)], failures)


@dataclass(frozen=True)
class _Jobs(Generic[T, R]):
    """What `run_objects` was asked for."""

    function: Callable[[T], R]
    items: Sequence[T]
    at_once: int
    fatal: tuple[type[SplatsweepError], ...]
    starts: PendingStarts  # told which tasks wait for a process

    def run(self, finished: Callable[[int], None]) -> dict[int, R | Failure[T]]:
        """Place of the item -> its value, or its failure."""
        import ray

        work, shared = task_of(_attempt, retries=1), ray.put(self.function)
        results: dict[int, R | Failure[T]] = {}
        waiting, running, pending = deque(enumerate(self.items)), dict[Any, int](), set[Any]()
        try:
            while waiting or running:
                while waiting and len(running) < self.at_once:
                    place, item = waiting.popleft()
                    task = work.remote(shared, item)
                    running[task] = place
                    pending.add(task)
                self.starts.tick(list(pending))
                for task in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                    place, begins = running[task], task in pending
                    pending.discard(task)
                    found = self._answer(task, self.items[place])
                    if begins and found is None:
                        continue  # it has its process
                    del running[task]
                    if isinstance(found, Failure) and isinstance(found.error, self.fatal):
                        raise found.error
                    results[place] = found
                    finished(place)
        finally:
            for task in running:
                ray.cancel(task, force=True)
        return results

    def _answer(self, task: Any, item: T) -> Any:
        """The next one of a task that has one."""
        import ray

        try:
            return ray.get(next(task))
        except ray.exceptions.RayError as error:
            return Failure(item, f"the worker process died ({one_line(error, 160)})")


def _attempt(job: Callable[[T], R], item: T) -> R | Failure[T]:
    """Errors of ours are for people and travel whole, without their cause; of others their kind and text."""
    try:
        return job(item)
    except SplatsweepError as error:
        return Failure(item, str(error), type(error)(str(error)))
    except Exception as error:
        return Failure(item, one_line(error))


class SpeedColumn(ProgressColumn):
    """Objects and megabytes per second since the start, resumed work not counted."""

    def render(self, task: Task) -> Text:
        """`12.3/s  45 MB/s`."""
        seconds = task.finished_time or task.elapsed
        if not seconds or not task.completed:
            return Text("")
        read = task.fields.get("bytes", 0) / seconds / 1e6
        return Text(
            f"{task.completed / seconds:.1f}/s" + (f"  {read:.0f} MB/s" if read else ""), style="progress.data.speed"
        )


def object_bar(console: Console | None, *, speed: bool = False) -> Progress:
    """A bar that counts objects; with `speed` it also says how fast."""
    return LinedProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([SpeedColumn()] if speed else []),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console or Console(stderr=True),
    )


def advance(bar: Progress, task: Any, weight: Weight) -> None:
    """Count what an item was worth."""
    read = bar.tasks[bar.task_ids.index(task)].fields.get("bytes", 0)
    bar.update(task, advance=weight.objects, bytes=read + weight.bytes)
