"""How far the mirror of a study is: a small file in the study's folder."""

from contextlib import suppress
from pathlib import Path

from pydantic import Field

from ssl_core.config import Config
from ssl_core.errors import ConfigError

CURSOR = "mirror.json"


class Cursor(Config):
    """How far a mirror is."""

    address: str = ""  # of the server, without credentials; empty before it answered
    position: int = 0  # facts of the source before this one have arrived
    complete: bool = False  # the study is at rest, and all of it has arrived
    runs: dict[str, str] = Field(default_factory=dict)  # run ids by trial number or `study`
    # digests of the artifacts that have arrived, by run and name
    files: dict[str, dict[str, str]] = Field(default_factory=dict)
    waiting: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # artifacts that have not, by run
    waiting_why: str = ""  # of the latest of them
    refused: int = 0  # values that the server will never take; `refusals` says which and why, of the latest
    refusals: tuple[str, ...] = ()
    trouble: str = ""  # why it does not get on; empty when it does

    def run_of(self, trial: int) -> str | None:
        """Id of a trial's run, once the server has it."""
        return self.runs.get(str(trial))

    def left(self, facts: int) -> int:
        """How many of a source's facts have not arrived; at least one while its end has not."""
        return max(facts - self.position, 0 if self.complete or self.waiting else 1)

    @property
    def files_left(self) -> int:
        """How many artifacts have not arrived."""
        return sum(map(len, self.waiting.values()))

    def shortfall(self) -> list[str]:
        """What the server lacks although everything else has arrived, a line for each kind; empty where it has all."""
        lines = []
        if self.waiting:
            lines.append(
                f"MLflow has not taken {self.files_left} files; the latest: {self.waiting_why}. They are kept in the "
                "study's folder and sent by the next command on this study"
            )
        if self.refused:
            lines.append(f"MLflow refused {self.refused} values for good; the latest: {self.refusals[-1]}")
        return lines


def read_cursor(folder: Path) -> Cursor:
    """The cursor in a study's folder; that of the beginning where there is none or it cannot be read."""
    try:
        return Cursor.from_json((folder / CURSOR).read_text())
    except (OSError, ValueError, ConfigError):
        return Cursor()


def write_cursor(folder: Path, cursor: Cursor) -> bool:
    """Replace the cursor; False where the disk does not take it, which must keep nothing from the server."""
    with suppress(OSError):
        partial = folder / f".{CURSOR}.new"
        partial.write_text(cursor.to_json())
        partial.replace(folder / CURSOR)
        return True
    return False
