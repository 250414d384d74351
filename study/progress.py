"""A line a person can read: what is done, what runs, the best so far, how fast, how long still.

On a terminal one line is refreshed about once a second and finished trials scroll by above it. In a log file there
is a line per finished trial and a summary now and then.
"""

import time
from collections import Counter, deque
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from study.outcome import EpochReport, Outcome, better
from study.trial_record import TrialRecord

COLOURS = {
    Outcome.COMPLETE: "green",
    Outcome.STOPPED: "yellow",
    Outcome.INFEASIBLE: "magenta",
    Outcome.DIVERGED: "red",
    Outcome.CRASHED: "red",
}


class Clock(Protocol):
    """Seconds that only grow."""

    def __call__(self) -> float: ...


class Progress:
    """Witness that prints.

    Args:
        console: where to; standard error usually.
        trials: trials of the study.
        direction: of the objective.
        before: trials that were over when this invocation began.
        every: seconds between summaries when the console is not a terminal.
    """

    def __init__(
        self,
        console: Console,
        trials: int,
        direction: str,
        before: list[TrialRecord],
        *,
        every: float = 30.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._console, self._trials, self._direction, self._every = console, trials, direction, every
        self._clock = clock
        self._began = clock()
        self._next_summary = self._began + every
        self._shown = 0.0
        self._ends: Counter[str] = Counter()
        self._running: dict[int, tuple[int, int]] = {}
        self._best: tuple[int, float] | None = None
        self._lengths: list[int] = []
        self._longest = 0
        self._ticks: deque[float] = deque(maxlen=200)
        for record in before:
            self._count(record)
        self._live = Live(console=console, refresh_per_second=1, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, record: TrialRecord) -> None:
        """A trial runs, from its beginning or from its checkpoint."""
        self._running[record.number] = (record.epoch, record.epochs)
        self._refresh()

    def reported(self, record: TrialRecord, report: EpochReport) -> None:
        """An epoch is done."""
        self._running[record.number] = (report.epoch, report.epochs)
        self._longest = max(self._longest, report.epochs)
        self._ticks.append(self._clock())
        self._see_best(record)
        self._refresh()

    def ended(self, record: TrialRecord) -> None:
        """A trial is over: one line that stays."""
        self._running.pop(record.number, None)
        self._count(record)
        assert record.outcome is not None
        line = Text(f"trial {record.number:<3d} ")
        line.append(f"{record.outcome.value:<10s}", style=COLOURS[record.outcome])
        if record.best_value is not None:
            line.append(f" best {record.best_value:.4g} at epoch {record.best_epoch}")
        line.append(f"  {record.epoch}/{record.epochs or '?'} epochs, {record.seconds:.1f} s")
        if record.reason:
            line.append(f"  {record.reason}", style="dim")
        self._console.print(line, soft_wrap=True, highlight=False)
        self._refresh(now=True)

    def summary(self) -> str:
        """The line: `5 of 8 trials (1 stopped) · 2 running · best 0.713 (trial 3) · 1.9 epochs/s · 1:20 left`."""
        counted = sum(self._ends.values()) - self._ends[Outcome.INFEASIBLE]
        kinds = [f"{self._ends[kind]} {kind.value.lower()}" for kind in Outcome if self._ends[kind]]
        running = ", ".join(f"{n}: {done}/{of or '?'}" for n, (done, of) in sorted(self._running.items())[:4])
        parts = [f"{counted} of {self._trials} trials" + (f" ({', '.join(kinds)})" if kinds else "")]
        parts.append(f"{len(self._running)} running" + (f" ({running})" if running else ""))
        if self._best is not None:
            parts.append(f"best {self._best[1]:.4g} (trial {self._best[0]})")
        rate = self._rate()
        if rate:
            parts.append(f"{rate:.3g} epochs/s")
            parts.append(f"about {clock_text(self._epochs_left(counted) / rate)} left")
        return " · ".join(parts)

    def tick(self) -> None:
        """Called often while nothing happens; prints when it is time."""
        self._refresh()

    def _count(self, record: TrialRecord) -> None:
        if record.outcome is None:
            return
        self._ends[record.outcome] += 1
        if record.outcome is not Outcome.INFEASIBLE:
            self._lengths.append(record.epoch)
        self._longest = max(self._longest, record.epochs)
        if record.outcome.has_value:
            self._see_best(record)

    def _see_best(self, record: TrialRecord) -> None:
        value = record.best_value
        if value is not None and better(value, self._best[1] if self._best else None, self._direction):
            self._best = (record.number, value)

    def _rate(self) -> float:
        """Epochs per second over the last two hundred."""
        if len(self._ticks) < 3:
            return 0.0
        return (len(self._ticks) - 1) / max(self._clock() - self._ticks[0], 1e-9)

    def _epochs_left(self, counted: int) -> float:
        """Running trials to their end, the others as long as those before them were on average."""
        usual = sum(self._lengths) / len(self._lengths) if self._lengths else float(self._longest)
        under_way = sum(max(0.0, (of or usual) - done) for done, of in self._running.values())
        return under_way + usual * max(0, self._trials - counted - len(self._running))

    def _refresh(self, now: bool = False) -> None:
        moment = self._clock()
        if self._live is not None:
            if now or moment - self._shown >= 1.0:
                self._shown = moment
                self._live.update(Text(self.summary(), style="bold", overflow="ellipsis", no_wrap=True))
        elif moment >= self._next_summary:
            self._next_summary = moment + self._every
            self._console.print(self.summary(), soft_wrap=True, highlight=False)


def clock_text(seconds: float) -> str:
    """`1:05:09`, `2:07` or `9 s`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{left:02d}"
    return f"{minutes}:{left:02d}" if minutes else f"{left} s"
