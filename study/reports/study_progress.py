"""A running study for a person: a panel that is refreshed on a terminal, lines in a log file.

On a terminal finished trials scroll by above the panel. In a log file there is a line per finished trial and a summary
now and then.
"""

from rich.console import Console
from rich.live import Live
from rich.text import Text

from study.analysis.words import COLOURS, clock_text
from study.engine.ledger import Ledger
from study.record.trial_record import TrialRecord
from study.reports.budget_use import budget_use, seconds_left
from study.reports.live_panel import panel, use_text
from study.reports.live_state import LiveState
from study.spec.clock import Clock, SystemClock
from study.spec.outcome import EpochReport, Outcome

SUMMARY_SECONDS = 30.0
PANEL_SECONDS = 1.0


class Progress:
    """Witness that shows. An event costs the same however many trials there are.

    Args:
        console: where to; standard error usually.
        ledger: of the study; what was before this invocation is read from it.
        slots: trials at a time.
        clock: of this invocation.
    """

    def __init__(self, console: Console, ledger: Ledger, slots: int, *, clock: Clock = SystemClock()) -> None:
        self._console, self._clock = console, clock
        self._state = LiveState(ledger, slots, clock)
        self._next_summary = clock.monotonic() + SUMMARY_SECONDS
        self._shown = float("-inf")
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
        spending = state.spending()
        uses = budget_use(state.spec.limit, spending)
        kinds = [f"{state.ends[kind]} {kind.value.lower()}" for kind in Outcome if state.ends[kind]]
        of = next((f" of {use.limit:g}" for use in uses if use.name == "trials"), "")
        parts = [f"{state.done}{of} trials" + (f" ({', '.join(kinds)})" if kinds else "")]
        parts += [use_text(use) for use in uses if use.name != "trials"]
        first = sorted(state.running.items())[:4]
        running = ", ".join(f"{n}: {trial.record.epoch}/{trial.record.epochs or '?'}" for n, trial in first)
        parts.append(f"{len(state.running)} running" + (f" ({running})" if running else ""))
        if state.best is not None:
            parts.append(f"best {state.best.best_value:.4g} (trial {state.best.number})")
        if rate := state.rate():
            parts.append(f"{rate:.3g} epochs/s")
            left = seconds_left(state.spec.limit, spending, state.pace())
            parts += [f"about {clock_text(left)} left"] if left is not None else []
        return " · ".join(parts)

    def _refresh(self, now: bool = False) -> None:
        moment = self._clock.monotonic()
        if self._live is not None:
            if now or moment - self._shown >= PANEL_SECONDS:
                self._shown = moment
                self._state.look()
                self._live.update(panel(self._state, self._console.height), refresh=True)
        elif moment >= self._next_summary:
            self._next_summary = moment + SUMMARY_SECONDS
            self._state.look()
            self._console.print(self.summary(), soft_wrap=True, highlight=False)


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
