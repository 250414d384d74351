"""Where a study's time is kept between invocations: two small files beside the journal.

    <study>/meter.json      totals, and the trials that run; replaced as a whole every few seconds
    <study>/meter.jsonl     one line per trial that left its slot; later lines of a trial replace earlier ones

They are not in the journal, which would grow by a line every few seconds for as long as the study runs. Times are all
they hold: a damaged file costs the times before it, never a result.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field

from ssl_core.config import Config
from ssl_core.errors import ConfigError

TOTALS, TRIALS = "meter.json", "meter.jsonl"


class TrialTime(Config):
    """What became of the slot-seconds of one trial, over all its attempts.

    Attributes:
        held: from being handed out to leaving its slot; all of the time below is part of it.
        training: in epochs that were reported.
        lost: after the last report of an attempt that ended without one.
    """

    held: float = 0.0
    training: float = 0.0
    lost: float = 0.0

    @property
    def overhead(self) -> float:
        """Held without training: starting, opening data, saving checkpoints, waiting for the driver."""
        return max(0.0, self.held - self.training - self.lost)


class MeterTotals(Config):
    """What the study's invocations held together.

    Attributes:
        seconds: wall time of drivers.
        gpu_seconds: GPUs of all slots times seconds.
        idle: slot-seconds without a trial.
        gpus: of one slot in the last invocation.
        live: trials that hold a slot, with the time since their last report counted as lost.
        under_way: that time alone: it is lost only if the driver died.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    idle: float = 0.0
    gpus: float = 0.0
    live: dict[int, TrialTime] = Field(default_factory=dict)
    under_way: dict[int, float] = Field(default_factory=dict)


class MeterFile:
    """Reads and writes both files of a study's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> tuple[MeterTotals, dict[int, TrialTime]]:
        """Totals, and the time of every trial, running ones included. What cannot be read counts as nothing."""
        try:
            totals = MeterTotals.from_json((self._folder / TOTALS).read_text())
        except (OSError, ValueError, ConfigError):
            totals = MeterTotals()
        times = dict(self._lines())
        for number, time in totals.live.items():
            # a death between the two writes leaves an older time here
            if number not in times or time.held > times[number].held:
                times[number] = time
        return totals, times

    def write(self, totals: MeterTotals, left: Mapping[int, TrialTime]) -> None:
        """Append the trials that left, then replace the totals. Raises OSError."""
        if left:
            path = self._folder / TRIALS
            with path.open("a+b") as stream:
                torn = stream.tell() > 0 and not _ends_whole(path)
                lines = (json.dumps({"trial": n, **time.model_dump()}) + "\n" for n, time in left.items())
                stream.write(b"\n" * torn + "".join(lines).encode())
        staging = self._folder / f".{TOTALS}"
        staging.write_text(totals.to_json())
        staging.replace(self._folder / TOTALS)

    def _lines(self) -> Iterable[tuple[int, TrialTime]]:
        try:
            lines = (self._folder / TRIALS).read_text(errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
                yield int(entry.pop("trial")), TrialTime.model_validate(entry)
            except (ValueError, KeyError, TypeError, AttributeError):
                # torn by a death or a full disk
                continue


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"
