"""Rows for a terminal of any width."""

from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW = 64
"""Columns below which a table would cut its numbers and its text away."""
TEXT = 24
"""Columns that the text at the end needs beside the cells."""


@dataclass(frozen=True)
class TextRows:
    """Rows of short cells and a text at the end: a table, or in a narrow terminal each row above its text."""

    title: str  # over the table
    columns: tuple[str, ...]  # names; the last one is of the text. Those in `numbers` align right
    cells: list[list[str]]  # of each row, as many as columns; markup
    numbers: frozenset[str] = frozenset()
    more: str = ""  # a line below, empty for none
    text: int = TEXT  # columns that the text needs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [max((_width(cell) for cell in column), default=0) for column in zip(*self.cells, strict=True)]
        if options.max_width >= max(NARROW, sum(width + 3 for width in widths[:-1]) + self.text):
            yield self._table()
            return
        yield Text(self.title, style="italic")
        for row in self.cells:
            yield Text.from_markup("  ".join(cell for cell in row[:-1] if cell), overflow="fold")
            if row[-1]:
                yield Padding(Text.from_markup(row[-1], overflow="fold"), (0, 0, 0, 2))
        if self.more:
            yield Text(self.more, style="dim")

    def _table(self) -> Table:
        table = Table(title=Text(self.title), title_justify="left", header_style="bold", caption=self.more or None)
        for name in self.columns[:-1]:
            table.add_column(name, justify="right" if name in self.numbers else "left", no_wrap=True)
        table.add_column(self.columns[-1], overflow="fold")
        for row in self.cells:
            table.add_row(*row)
        return table


def _width(cell: str) -> int:
    return cell_len(Text.from_markup(cell).plain)
