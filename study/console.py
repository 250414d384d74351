"""How commands talk: tables and bars for people on stderr/stdout, JSON for scripts."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

# what is printed holds names, paths and reasons that others wrote: brackets and colons in them are text
console = Console(highlight=False, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """A line, or several, on standard output, broken nowhere else: a path stays one word."""
    console.print(printable(text), soft_wrap=True)


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


@contextmanager
def progress_bar(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar with counts, elapsed and remaining time; yields a function of (done, total)."""
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, disable=quiet, transient=not errors.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update
