"""Bars off a terminal: a line now and then."""

import io

from rich.console import Console
from rich.progress import TextColumn

from study.reports import console
from study.reports.console import LinedProgress


def _run(terminal: bool, clock: list[float]) -> str:
    stream = io.StringIO()
    shown = Console(file=stream, force_terminal=terminal, width=80)
    with LinedProgress(TextColumn("{task.description}"), console=shown, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("packing", total=100)
        for done in range(1, 101):
            clock[0] += 1.0
            bar.update(task, completed=done)
    return stream.getvalue()


def test_a_line_every_twenty_seconds_where_there_is_no_terminal(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    lines = [line for line in _run(False, clock).splitlines() if line.startswith("packing: ")]
    assert [line.split(",")[0] for line in lines] == [f"packing: {done} of 100" for done in (21, 41, 61, 81)]
    assert all("about" in line and "left" in line for line in lines[1:])


def test_no_line_on_a_terminal(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    assert "of 100" not in _run(True, clock)
