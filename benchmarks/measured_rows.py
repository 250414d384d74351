"""Measured rows in a file, a line of JSON each: what is there is not measured again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


class MeasuredRows:
    """The rows of `file`, which need not be there yet. Who measures for hours and is ended keeps what was done."""

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.rows: list[Row] = [json.loads(line) for line in lines]

    def has(self, asked: Row) -> bool:
        """Whether a row answers to all of `asked`."""
        wanted = json.loads(json.dumps(asked))  # as a file gives it back
        return any(all(row.get(key) == value for key, value in wanted.items()) for row in self.rows)

    def add(self, row: Row) -> None:
        """To the file, at once."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row)
        with self.file.open("a") as stream:
            stream.write(line + "\n")
        self.rows.append(json.loads(line))
