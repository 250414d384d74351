"""What a measurement found, and how it is shown: samples, ratios and tables.

A ratio is baseline over ours, so 3 means that ours needs a third.
"""

import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Show = Callable[[float], str]


@dataclass(frozen=True)
class Samples:
    """One number, measured several times."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("nothing was measured; give at least one value")

    @property
    def median(self) -> float:
        """The middle value, or the mean of the two in the middle."""
        return statistics.median(self.values)

    def text(self, show: Show) -> str:
        """`median (minimum to maximum)`, or the value alone when there is one."""
        if len(self.values) == 1:
            return show(self.values[0])
        return f"{show(self.median)} ({show(min(self.values))} to {show(max(self.values))})"


def seconds(value: float) -> str:
    """Three digits with the unit that suits: 1.23 s, 45.6 ms, 789 µs."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{digits(value * factor)} {unit}"
    return f"{digits(value * 1e6)} µs"


def digits(value: float) -> str:
    """Three significant digits, more for large whole numbers."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


@dataclass(frozen=True)
class Comparison:
    """The same work done in two ways; less is better. `show` writes the values with their unit."""

    what: str
    ours: Samples
    baseline: Samples
    show: Show = seconds

    @property
    def ratio(self) -> Samples:
        """Baseline over ours: of each pair when they were measured in pairs, else of the medians."""
        if len(self.ours.values) == len(self.baseline.values):
            return Samples(tuple(b / o for o, b in zip(self.ours.values, self.baseline.values, strict=True)))
        return Samples((self.baseline.median / self.ours.median,))


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"row {row} has {len(row)} cells, the header {len(self.header)}")

    def text(self) -> str:
        """A Markdown table with aligned columns: readable in a terminal too."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        rule = tuple("-" * width for width in widths)
        padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], list(rule), *padded[1:]])


def ratio_table(comparisons: Sequence[Comparison], baseline: str = "baseline") -> Table:
    """What, ours, baseline, ratio and how often; every number as median (minimum to maximum)."""
    rows = [
        (
            each.what,
            each.ours.text(each.show),
            each.baseline.text(each.show),
            each.ratio.text(digits),
            _repetitions(each),
        )
        for each in comparisons
    ]
    return Table(("what", "ours", baseline, "ratio", "measured"), tuple(rows))


def _repetitions(comparison: Comparison) -> str:
    counts = [len(side.values) for side in (comparison.ours, comparison.baseline)]
    words = ["once" if count == 1 else f"{count} times" for count in counts]
    return words[0] if counts[0] == counts[1] else " and ".join(words)


@dataclass(frozen=True)
class Section:
    """One measurement, ready to be read.

    Args:
        title: headline.
        shows: one sentence, what the measurement shows.
        baseline: one sentence, what ours is compared with.
        tables: the numbers.
        notes: further sentences, below the tables.
        missed: bars that were set and not kept, one sentence each.
    """

    title: str
    shows: str
    baseline: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()

    def text(self) -> str:
        """Markdown below a headline of the second level."""
        parts = [f"## {self.title}", wrapped(f"{self.shows} {self.baseline}"), *(table.text() for table in self.tables)]
        parts += [wrapped(" ".join(self.notes))] if self.notes else []
        return "\n\n".join(parts)


def wrapped(text: str) -> str:
    """A paragraph in lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
