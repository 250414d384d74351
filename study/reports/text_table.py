"""Rows of short cells and a text at the end: a table, or in a narrow terminal each row above its text."""

from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW = 64
"""Columns below which a table would cut its numbers and its text away."""


@dataclass(frozen=True)
class TextRows:
    """Cells are markup.

    Attributes:
        title: over the table.
        columns: names; the last one is of the text. Those in `numbers` align right.
        cells: of each row, as many as columns.
        more: a line below, empty for none.
    """

    title: str
    columns: tuple[str, ...]
    cells: list[list[str]]
    numbers: frozenset[str] = field(default_factory=frozenset)
    more: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width >= NARROW:
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
