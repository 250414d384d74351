"""A bar of bytes for what goes over the network: how much, how fast, how long still."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from study.reports.console import errors


@contextmanager
def transfer_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to be called with each number of bytes that arrived, from any thread. Silent off a terminal."""
    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    lock = Lock()
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(count: int) -> None:
            with lock:
                bar.advance(task, count)

        yield advance
