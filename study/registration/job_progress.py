"""How far jobs are that other processes do: each writes a small file, whoever waits reads all of them.

<home>/evaluations/<digest of version and work>.json    while the job is done
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_core.config import Config, short_digest
from ssl_core.errors import ConfigError, StorageError
from ssl_core.evaluation.report import EvaluationProgress, Tell
from ssl_core.files.whole import atomic_write
from study.registration.evaluation_job import EvaluationJob
from study.reports.console import LINE_SECONDS, aside, bar, errors, printable
from study.reports.evaluation_pace import EvaluationPace, duration

FOLDER = "evaluations"
"""under the home folder"""
_WRITE_SECONDS = 1.0


class JobProgress(Config):
    """One job under way. left: seconds, if known."""

    what: str
    spent: float
    left: float | None = None


def progress_file(job: EvaluationJob) -> Path:
    """Where its worker says how far it is: not by the version's name, which a stranger may have chosen."""
    return Path(job.home) / FOLDER / f"{short_digest(f'{job.reference} {job.work}')}.json"


@contextmanager
def told_by_file(job: EvaluationJob) -> Iterator[Tell]:
    """Yields what is told of a job's steps: it writes the file now and then. A disk that is full hinders nobody."""
    path, pace, written = progress_file(job), EvaluationPace(), 0.0

    def tell(stand: EvaluationProgress) -> None:
        nonlocal written
        pace.listen(stand)
        if (now := time.monotonic()) - written < _WRITE_SECONDS:
            return
        written = now
        text = JobProgress(what=stand.what, spent=pace.spent, left=pace.left(stand)).to_json()
        with suppress(StorageError), atomic_write(path) as stream:
            stream.write(text.encode())

    try:
        yield tell
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_progress(job: EvaluationJob) -> JobProgress | None:
    """What its worker last said; None where it said nothing yet."""
    try:
        return JobProgress.from_json(progress_file(job).read_text())
    except (OSError, ValueError, ConfigError):
        return None


class Estimate:
    """Of several jobs over `slots` workers."""

    def __init__(self, jobs: Sequence[EvaluationJob], slots: int) -> None:
        self._jobs, self.slots, self._took = jobs, slots, dict[int, float]()

    def done(self, place: int, seconds: float) -> None:
        """A job ended; it took so long."""
        self._took[place] = seconds

    @property
    def finished(self) -> int:
        """Jobs that ended."""
        return len(self._took)

    def look(self, read: Callable[[EvaluationJob], JobProgress | None] = read_progress) -> tuple[str, float, float]:
        """What is under way in words, seconds of work that were done, and seconds until all is."""
        running: dict[int, JobProgress] = {}
        for place, job in enumerate(self._jobs):
            if place not in self._took and (found := read(job)) is not None:
                running[place] = found
        totals = {**self._took, **{place: one.spent + (one.left or 0.0) for place, one in running.items()}}
        waiting = [job for place, job in enumerate(self._jobs) if place not in totals]
        left = [one.left or 0.0 for one in running.values()]
        rest = sum(left) + sum(self._usual(job, totals) for job in waiting)
        words = ", ".join(f"{self._jobs[place].reference} {one.what}" for place, one in running.items())
        spent = sum(self._took.values()) + sum(one.spent for one in running.values())
        return words, spent, max([rest / self.slots, *left])

    def _usual(self, job: EvaluationJob, totals: dict[int, float]) -> float:
        """What a job that has not begun will take: as others of its name, else as any."""
        alike = [took for place, took in totals.items() if self._jobs[place].name == job.name]
        known = alike or list(totals.values())
        return sum(known) / len(known) if known else 0.0


@contextmanager
def shown(doing: str, estimate: Estimate, count: int) -> Iterator[Callable[[], None]]:
    """Yields what is called now and then: it shows how far all jobs are, as `evaluation_progress` does for one.

    Args:
        doing: `evaluating`. count: of jobs.
    """
    began = said = time.monotonic()

    def text() -> tuple[str, float]:
        words, spent, left = estimate.look()
        whole = spent + left * min(count, estimate.slots)
        known = f", about {duration(left)} left" if left > 0 else ""
        return f"{doing}, {estimate.finished} of {count} done ({words}){known}", spent / whole if whole else 0.0

    if errors.is_terminal:
        with bar() as (progress, task):

            def update() -> None:
                line, done = text()
                progress.update(task, description=printable(line), completed=100 * done)

            yield update
        return

    def line() -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= LINE_SECONDS:
            said = now
            aside(f"{text()[0]} after {duration(now - began)}")

    yield line
