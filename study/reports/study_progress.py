"""A running study for a person: a panel that is refreshed on a terminal, lines in a log file.

On a terminal finished trials scroll by above the panel. In a log file there is a line per finished trial and a summary
now and then. While trials wait for a stage that is being made, both say how far it is.
"""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ssl_core.training.stage_progress import StageProgress
from study.analysis.words import COLOURS, clock_text, values_text
from study.engine.ledger import Ledger
from study.record.trial_record import TrialRecord
from study.reports.live_state import LiveState, RunningTrial, Use, budget_use, seconds_left
from study.reports.study_text import rungs_table
from study.spec.clock import Clock, SystemClock
from study.spec.outcome import EpochReport, Outcome

SUMMARY_SECONDS = 30.0
PANEL_SECONDS = 1.0
STAGE_SECONDS = 5.0
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


class Progress:
    """Callback that shows. An event costs the same however many trials there are.

    Args:
        console: where to; standard error usually.
        ledger: of the study; what was before this invocation is read from it.
        slots: trials at a time.
        clock: of this invocation.
        stages: gives those that are being made; asked while a trial has not begun its first epoch.
    """

    def __init__(
        self,
        console: Console,
        ledger: Ledger,
        slots: int,
        *,
        clock: Clock = SystemClock(),
        stages: Callable[[], Sequence[StageProgress]] = tuple,
    ) -> None:
        self._console, self._clock, self._stages = console, clock, stages
        self._state = LiveState(ledger, slots, clock)
        self._next_summary = clock.monotonic() + SUMMARY_SECONDS
        self._shown = self._staged = float("-inf")
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
            self._refresh(now=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, record: TrialRecord) -> None:
        """A trial runs, from its beginning or from its checkpoint."""
        self._state.started(record)
        self._refresh()

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """An epoch is done."""
        self._state.reported(record, report)
        self._refresh()

    def ended(self, record: TrialRecord) -> None:
        """A trial is over: one line that stays."""
        self._state.ended(record)
        self._console.print(end_line(record), soft_wrap=True, highlight=False)
        self._refresh()

    def tick(self) -> None:
        """Called often while nothing happens; shows when it is time."""
        self._refresh()

    def summary(self) -> str:
        """The line: `5 of 8 trials (1 stopped) · 2 running · best 0.713 (trial 3) · 1.9 epochs/s · 1:20 left`."""
        state = self._state
        usage = state.usage()
        uses = budget_use(state.spec.limit, usage)
        kinds = [f"{state.ends[kind]} {kind.value.lower()}" for kind in Outcome if state.ends[kind]]
        of = next((f" of {use.limit:g}" for use in uses if use.name == "trials"), "")
        parts = [f"{state.done}{of} trials" + (f" ({', '.join(kinds)})" if kinds else "")]
        parts = [*self._stage_lines(), *parts, *(use_text(use) for use in uses if use.name != "trials")]
        first = sorted(state.running.items())[:4]
        running = ", ".join(f"{n}: {trial.record.epoch}/{trial.record.epochs or '?'}" for n, trial in first)
        parts.append(f"{len(state.running)} running" + (f" ({running})" if running else ""))
        if state.best is not None:
            parts.append(f"best {state.best.best_value:.4g} (trial {state.best.number})")
        if rate := state.rate():
            parts.append(f"{rate:.3g} epochs/s")
            left = seconds_left(state.spec.limit, usage, state.pace())
            parts += [f"about {clock_text(left)} left"] if left is not None else []
        return " · ".join(parts)

    def _refresh(self, now: bool = False) -> None:
        moment = self._clock.monotonic()
        if self._live is not None:
            if now or moment - self._shown >= PANEL_SECONDS:
                self._shown = moment
                self._state.look()
                self._live.update(panel(self._state, self._console.height, self._stage_lines()), refresh=True)
            return
        if moment - self._staged >= STAGE_SECONDS:
            self._staged = moment
            for line in self._stage_lines():
                self._console.print(line, soft_wrap=True, highlight=False)
        if moment >= self._next_summary:
            self._next_summary = moment + SUMMARY_SECONDS
            self._state.look()
            self._console.print(self.summary(), soft_wrap=True, highlight=False)

    def _stage_lines(self) -> list[str]:
        """What trials that have not begun wait for: `teacher: 120 of 240 objects, about 9 s left; trial 0 waits`."""
        waiting = [number for number, trial in sorted(self._state.running.items()) if not trial.record.epochs]
        if not waiting:
            return []
        first = ", ".join(map(str, waiting[:4])) + (", …" if len(waiting) > 4 else "")
        whom = f"; trials {first} wait" if len(waiting) > 1 else f"; trial {first} waits"
        return [progress.text + whom for progress in self._stages()]


def end_line(record: TrialRecord) -> Text:
    """`trial 3   STOPPED    best 0.41 at epoch 3  4/12 epochs, 9.1 s  why`."""
    assert record.outcome is not None
    line = Text(f"trial {record.number:<3d} ")
    line.append(f"{record.outcome.value:<10s}", style=COLOURS[record.outcome])
    if record.best_value is not None:
        line.append(f" best {record.best_value:.4g} at epoch {record.best_epoch}")
    line.append(f"  {record.epoch}/{record.epochs or '?'} epochs, {record.seconds:.1f} s")
    if record.reason:
        line.append(f"  {record.reason}", style="dim")
    return line


def panel(state: LiveState, height: int, stages: Sequence[str] = ()) -> RenderableType:
    """All of it, in at most about `height` lines; `stages` are being made.

    Trials that find no room are counted in the last line of their table.
    """
    usage = state.usage()
    uses = budget_use(state.spec.limit, usage)
    rungs = sorted(state.rungs.values(), key=lambda rung: rung.epoch)[-MOST_RUNGS:]
    room = max(2, height - len(uses) - len(stages) - (len(rungs) + 2 if rungs else 0) - 8)
    left = seconds_left(state.spec.limit, usage, state.pace())
    parts: list[RenderableType] = [_budget(uses)]
    if state.running:
        parts.append(_running(state, room))
    parts += [Text(line, style="cyan", no_wrap=True, overflow="ellipsis") for line in stages]
    if rungs:
        parts.append(rungs_table(rungs, None))
    parts.append(_best(state))
    end = f"about {clock_text(left)} left" if left is not None else "time left unknown"
    rate = f"{state.rate():.3g} epochs/s · " if state.rate() else ""
    return Panel(
        Group(*parts),
        title=f"[bold]{escape(state.name)}[/] · {escape(state.spec.metric)} {state.spec.direction}d",
        title_align="left",
        subtitle=f"{rate}{clock_text(usage.seconds)} so far · {end}",
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
    widths = {"trial": 5, "epoch": 7, "": BAR, "latest": 7, "best": 7, "s/epoch": 7, "since": 7}
    for name, width in widths.items():
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
    origin = "" if record.origin is None else record.origin.kind
    kind = f"{origin}  " if origin in ("repeat", "confirmation", "base", "enqueued") else ""
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
