"""Time as the study sees it, so that a simulation can bring its own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of one clock."""

    def monotonic(self) -> float:
        """Seconds that never go back, for durations within a process."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, for people and other processes; may jump."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()
