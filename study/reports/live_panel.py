"""The picture of a running study on a terminal: budget, running trials, rungs, best so far."""

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.analysis.words import COLOURS, clock_text, values_text
from study.reports.budget_use import Use, budget_use, seconds_left
from study.reports.live_state import LiveState, RunningTrial
from study.spec.outcome import Outcome

MOST_RUNGS = 6
BAR = 20
UNITS = {
    "trials": "trials",
    "hours": "hours",
    "gpu_hours": "GPU-hours",
    "epochs": "epochs",
    "no_improvement": "without a new best",
    "target": "target",
}


def panel(state: LiveState, height: int) -> RenderableType:
    """All of it, in at most about `height` lines.

    Trials that find no room are counted in the last line of their table.
    """
    spending = state.spending()
    uses = budget_use(state.spec.limit, spending)
    rungs = sorted(state.rungs.values(), key=lambda rung: rung.epoch)[-MOST_RUNGS:]
    room = max(2, height - len(uses) - (len(rungs) + 2 if rungs else 0) - 8)
    left = seconds_left(state.spec.limit, spending, state.pace())
    parts: list[RenderableType] = [_budget(uses)]
    if state.running:
        parts.append(_running(state, room))
    if rungs:
        parts.append(_rungs(state))
    parts.append(_best(state))
    end = f"about {clock_text(left)} left" if left is not None else "time left unknown"
    rate = f"{state.rate():.3g} epochs/s · " if state.rate() else ""
    return Panel(
        Group(*parts),
        title=f"[bold]{escape(state.name)}[/] · {escape(state.spec.metric)} {state.spec.direction}d",
        title_align="left",
        subtitle=f"{rate}{clock_text(spending.seconds)} so far · {end}",
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="dim",
    )


def use_text(use: Use) -> str:
    """`5 of 8 trials`, `1:20:05 of 4 hours`, `target 0.9: best 0.71`."""
    if use.name == "target":
        return f"target {use.limit:g}: best {'–' if use.used is None else format(use.used, '.4g')}"
    used = 0.0 if use.used is None else use.used
    if use.name == "hours":
        return f"{clock_text(3600 * used)} of {use.limit:g} hours"
    digits = f"{used:.0f}" if use.name in ("trials", "epochs", "no_improvement") else f"{used:.3g}"
    return f"{digits} of {use.limit:g} {UNITS[use.name]}"


def _budget(uses: list[Use]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=BAR)
    grid.add_column()
    for use in uses:
        share = use.share
        grid.add_row(Text("") if share is None else _bar(share, 1.0), use_text(use))
    return grid


def _bar(done: float, of: float) -> ProgressBar:
    return ProgressBar(total=max(of, 1e-9), completed=min(done, of), width=BAR, complete_style="cyan")


def _running(state: LiveState, room: int) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=True)
    for name, width in (
        ("trial", 5),
        ("epoch", 7),
        ("", BAR),
        ("latest", 7),
        ("best", 7),
        ("s/epoch", 7),
        ("since", 7),
    ):
        table.add_column(name, justify="right", no_wrap=True, min_width=width, max_width=width)
    # what is left of the line
    table.add_column("values", no_wrap=True, overflow="ellipsis", style="dim", ratio=1)
    shown = sorted(state.running)[:room]
    for number in shown:
        table.add_row(*_row(state.running[number], state.clock.monotonic()))
    if len(shown) < len(state.running):
        table.add_row(f"+{len(state.running) - len(shown)}", "", "")
    return table


def _row(trial: RunningTrial, now: float) -> tuple[RenderableType, ...]:
    record = trial.record
    kind = ""
    if record.origin is not None and record.origin.kind in ("repeat", "confirmation", "base", "enqueued"):
        kind = f"{record.origin.kind}  "
    return (
        str(record.number),
        f"{record.epoch}/{record.epochs or '?'}",
        _bar(record.epoch, record.epochs or 1),
        _number(trial.latest),
        _number(record.best_value),
        "" if trial.seconds is None else f"{trial.seconds:.2g}",
        clock_text(now - trial.since),
        escape(kind + values_text(record.values or {}, brief=True)),
    )


def _rungs(state: LiveState) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("rung", "reached", "passed", "stopped", "bar"):
        table.add_column(name, justify="right", no_wrap=True)
    if any(rung.redirected for rung in state.rungs.values()):
        table.add_column("redirected", justify="right", no_wrap=True)
    for rung in sorted(state.rungs.values(), key=lambda rung: rung.epoch)[-MOST_RUNGS:]:
        cells = [f"{rung.epoch}", f"{rung.reached}", f"{rung.passed}", f"{rung.stopped}", _number(rung.bar)]
        table.add_row(*cells, *([str(rung.redirected)] if len(table.columns) > len(cells) else []))
    return table


def _best(state: LiveState) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for kind in Outcome:
        if state.ends[kind]:
            line.append(f"{state.ends[kind]} {kind.value.lower()}  ", style=COLOURS[kind])
    if state.confirmed:
        line.append(f"{state.confirmed} confirmations  ", style="dim")
    if state.best is not None:
        line.append("\nbest ", style="bold")
        line.append(f"{_number(state.best.best_value)}", style="bold green")
        line.append(f" trial {state.best.number}, epoch {state.best.best_epoch}  ")
        line.append(values_text(state.best.values or {}, brief=True), style="dim")
    return line


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
