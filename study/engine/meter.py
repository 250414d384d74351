"""Measures what a study holds: every second of every slot, with a trial or without; kept between invocations.

    <study>/meter.json      totals, and the trials that run; replaced as a whole every few seconds
    <study>/meter.jsonl     one line per trial that left its slot; later lines of a trial replace earlier ones

The trial manager says when a trial takes a slot, reports and leaves it; between two such moments each slot is counted
once. The files are not in the journal, which would grow by a line every few seconds. Times are all they hold: a
damaged one costs the times before it, never a result.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ssl_core.config import Config
from ssl_core.errors import ConfigError
from study.engine.ledger import Ledger
from study.record.metrics_file import append_line
from study.spec.clock import Clock

TOTALS, TRIALS = "meter.json", "meter.jsonl"


class TrialTime(Config):
    """What became of the slot-seconds of one trial, over all its attempts."""

    held: float = 0.0  # from being handed out to leaving its slot; all of the time below is part of it
    training: float = 0.0  # in epochs that were reported
    lost: float = 0.0  # after the last report of an attempt that ended without one

    @property
    def overhead(self) -> float:
        """Held without training: starting, opening data, saving checkpoints, waiting for the driver."""
        return max(0.0, self.held - self.training - self.lost)


class MeterTotals(Config):
    """What the study's invocations held together."""

    seconds: float = 0.0  # wall time of drivers
    gpu_seconds: float = 0.0  # GPUs of all slots times seconds
    idle: float = 0.0  # slot-seconds without a trial
    gpus: float = 0.0  # of one slot in the last invocation
    # trials that hold a slot, with the time since their last report counted as lost
    live: dict[int, TrialTime] = Field(default_factory=dict)
    under_way: dict[int, float] = Field(default_factory=dict)  # that time alone: it is lost only if the driver died


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
            lines = (json.dumps({"trial": n, **time.model_dump()}) + "\n" for n, time in left.items())
            append_line(self._folder / TRIALS, "".join(lines).encode())
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


PERSIST_SECONDS = 2.0


@dataclass(slots=True)
class _Time:
    """A trial's time while it is counted; `since`: its last report. Plain numbers: every message adds to them."""

    held: float = 0.0
    training: float = 0.0
    lost: float = 0.0
    since: float = 0.0

    def kept(self) -> TrialTime:
        """As it is written down: what is not reported yet is lost if the driver dies now."""
        return TrialTime(held=self.held, training=self.training, lost=self.lost + self.since)


class Meter:
    """Slot-seconds of a study over all its invocations.

    Durations come from the clock that never goes back, so a wall clock that jumps changes nothing.

    Args:
        ledger: of the study; its folder keeps the measurements. One that lives in memory keeps none.
        began: `clock.monotonic()` when this invocation began to hold its slots, if that is earlier than now.
    """

    def __init__(
        self, clock: Clock, slots: int, gpus_per_slot: float, ledger: Ledger, began: float | None = None
    ) -> None:
        self._clock, self._slots, self._gpus, self._ledger = clock, slots, gpus_per_slot, ledger
        self._file = MeterFile(ledger.folder)
        before, times = self._file.read()
        self._seconds, self._gpu_seconds, self._idle = before.seconds, before.gpu_seconds, before.idle
        self._times = {number: _Time(time.held, time.training, time.lost) for number, time in times.items()}
        self._shares: dict[int, float] = {}
        self._left = {number: time for number, time in before.live.items() if time == times[number]}
        self._last = clock.monotonic() if began is None else began
        self._saved = float("-inf")

    # ---- what the trial manager says

    def launched(self, number: int, share: float = 1.0) -> None:
        """A trial takes a slot, or several slots or part of one by its share."""
        self._advance()
        self._shares[number] = share
        self._times.setdefault(number, _Time()).since = 0.0

    def reported(self, number: int, training_seconds: float) -> None:
        """A running trial reports an epoch that trained this long.

        An epoch that an earlier attempt trained but could not report had been counted as lost; it is found again.
        """
        self._advance()
        if number not in self._shares:
            return
        time = self._times[number]
        seconds = max(0.0, training_seconds) * self._shares[number]
        here = min(seconds, time.since)
        found = min(seconds - here, time.lost)
        time.training, time.lost, time.since = time.training + here + found, max(0.0, time.lost - found), 0.0

    def left(self, number: int, lost: bool = False) -> None:
        """A trial leaves its slot. `lost`: its attempt failed, so what it did since its last report is gone."""
        self._advance()
        if number not in self._shares:
            return
        time = self._times[number]
        time.lost, time.since = time.lost + time.since * lost, 0.0
        del self._shares[number]
        self._left[number] = time.kept()

    # ---- what it measured

    def held(self, number: int) -> float:
        """Slot-seconds of a trial so far, over all attempts."""
        self._advance()
        return self._times[number].held if number in self._times else 0.0

    def seconds(self) -> float:
        """Wall seconds under a driver, over all invocations."""
        self._advance()
        return self._seconds

    def gpu_seconds(self) -> float:
        """GPUs of all slots times seconds, over all invocations."""
        self._advance()
        return self._gpu_seconds

    def times(self) -> dict[int, TrialTime]:
        """Time of each trial, what runs since its last report counted as lost."""
        self._advance()
        return {number: time.kept() for number, time in self._times.items()}

    def totals(self) -> MeterTotals:
        """Of all invocations."""
        self._advance()
        return MeterTotals(
            seconds=self._seconds,
            gpu_seconds=self._gpu_seconds,
            idle=self._idle,
            gpus=self._gpus,
            live={number: self._times[number].kept() for number in self._shares},
            under_way={number: self._times[number].since for number in self._shares},
        )

    # ---- keeping it

    def tick(self) -> None:
        """Called each turn of the study's loop; writes what was measured every few seconds."""
        self._advance()
        if self._last - self._saved >= PERSIST_SECONDS:
            self._save()

    def close(self) -> None:
        """The invocation ends: what still runs is interrupted."""
        for number in list(self._shares):
            self.left(number, lost=True)
        self._advance()
        self._save()

    def _save(self) -> None:
        self._saved = self._last
        if not self._ledger.folder.is_dir():
            return
        try:
            self._file.write(self.totals(), self._left)
        except OSError:
            # a full disk: the next turn tries again, and a study does not end for want of its times
            return
        self._left = {}

    def _advance(self) -> None:
        """Count the time since the last look for whoever held a slot meanwhile."""
        now = self._clock.monotonic()
        passed, self._last = max(0.0, now - self._last), max(now, self._last)
        if passed == 0.0:
            return
        wanted = sum(self._shares.values())
        # trials that wait for one another's resources hold no more than there is
        squeeze = passed * min(1.0, self._slots / wanted) if wanted else 0.0
        for number, share in self._shares.items():
            time, part = self._times[number], share * squeeze
            time.held, time.since = time.held + part, time.since + part
        self._seconds += passed
        self._gpu_seconds += passed * self._slots * self._gpus
        self._idle += max(0.0, passed * self._slots - wanted * squeeze)
