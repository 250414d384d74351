"""How commands talk: tables and bars for people on stderr/stdout, JSON for scripts."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ssl_core.evaluation.report import EvaluationProgress, Tell
from study.reports.evaluation_pace import EvaluationPace, duration, share

# what is printed holds names, paths and reasons that others wrote: brackets and colons in them are text
console = Console(highlight=False, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """A line, or several, on standard output, broken nowhere else: a path stays one word."""
    console.print(printable(text), soft_wrap=True)


def aside(text: str) -> None:
    """The same on standard error, beside what a script reads."""
    errors.print(printable(text), soft_wrap=True)


def complain(text: str) -> None:
    """Why a command ends: one line on standard error."""
    errors.print(Text.assemble(("error:", "bold red"), f" {printable(text)}"), soft_wrap=True)


def answer(json: bool, facts: Any, text: str) -> None:
    """What a command found: `facts` for a script, else `text` for a person."""
    print_json(facts) if json else say(text)


def print_json(value: Any) -> None:
    """One JSON document on standard output. Infinity and NaN, for which JSON has no numbers, are words in it."""
    try:
        print(json.dumps(value, indent=1, default=str, allow_nan=False))
    except ValueError:
        loose = json.loads(json.dumps(value, default=str), parse_constant=str)
        print(json.dumps(loose, indent=1))


def table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table; numbers align right. Cells are text: control characters in them become question marks."""
    made = Table(title=printable(title) or None, title_justify="left", header_style="bold")
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        made.add_column(printable(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*[f"{cell:.4g}" if isinstance(cell, float) else printable(str(cell)) for cell in row])
    console.print(made)


def printable(text: str) -> str:
    """Control characters and what no encoding holds as question marks; line ends stay."""
    return "".join(c if c == "\n" or c.isprintable() else "?" for c in text)


LINE_SECONDS = 20.0
"""between two lines about what is under way, where there is no terminal"""


class LinedProgress(Progress):
    """Bars on a terminal; elsewhere a line now and then, as a log shows a bar only when all is over."""

    _said: float | None = None

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As `rich.progress.Progress.update`."""
        super().update(task_id, **changes)
        if self.console.is_terminal or self.disable:
            return
        now = time.monotonic()
        self._said = now if self._said is None else self._said
        task = self._tasks[task_id]
        if now - self._said >= LINE_SECONDS and task.total and task.completed < task.total:
            self._said, left = now, task.time_remaining
            words = f"{task.description}: {task.completed:,.0f} of {task.total:,.0f}"
            self.console.print(printable(words if left is None else f"{words}, about {duration(left)} left"))


@contextmanager
def progress_bar(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar with counts, elapsed and remaining time; yields a function of (done, total)."""
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with LinedProgress(*columns, console=errors, disable=quiet, transient=not errors.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


@contextmanager
def evaluation_progress() -> Iterator[Tell]:
    """Yields what is told how far evaluations are, one after the other.

    Shows it on stderr: a bar with an estimate on a terminal, elsewhere a line now and then.
    """
    if not errors.is_terminal:
        yield _Lines()
        return
    with bar() as (shown, task):
        pace, title = EvaluationPace(), ""

        def tell(stand: EvaluationProgress) -> None:
            nonlocal pace, title
            if stand.title != title:
                pace, title = EvaluationPace(), stand.title
            pace.listen(stand)
            left = pace.left(stand)
            text = f"{_words(stand)}{'' if left is None else f', about {duration(left)} left'}"
            shown.update(task, description=printable(text), completed=100 * share(stand, pace.spent, left))

        yield tell


@contextmanager
def bar() -> Iterator[tuple[Progress, TaskID]]:
    """A bar of 100 parts on stderr, whose description says what is under way and how long it will take."""
    columns: tuple[ProgressColumn, ...] = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as shown:
        yield shown, shown.add_task("", total=100)


class _Lines:
    """Says a line when the last one is some time ago."""

    def __init__(self) -> None:
        self._title, self._pace, self._said = "", EvaluationPace(), 0.0

    def __call__(self, stand: EvaluationProgress) -> None:
        now = time.monotonic()
        if stand.title != self._title:
            self._title, self._pace, self._said = stand.title, EvaluationPace(), now
        self._pace.listen(stand)
        left = self._pace.left(stand)
        if now - self._said < LINE_SECONDS or left is None or not 0 < stand.done < stand.total:
            return
        self._said, spent = now, self._pace.spent
        done = f"{100 * share(stand, spent, left):.0f} % after {duration(spent)}"
        aside(f"{_words(stand)}: {done}, about {duration(left)} left")


def _words(stand: EvaluationProgress) -> str:
    return f"evaluating {stand.title}, {stand.what}"
