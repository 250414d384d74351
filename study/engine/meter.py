"""Measures what a study holds: every second of every slot, with a trial or without.

The trial manager says when a trial takes a slot, reports and leaves it; between two such moments each slot is counted
once. What a dead driver measured, up to its last tick, is found on disk by the next one.
"""

from dataclasses import dataclass

from study.engine.ledger import Ledger
from study.engine.meter_file import MeterFile, MeterTotals, TrialTime
from study.spec.clock import Clock

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
        clock: of this invocation.
        slots: trials at a time.
        gpus_per_slot: GPUs of each slot.
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
