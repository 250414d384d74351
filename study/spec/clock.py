"""Time as the study sees it, so that a simulation can bring its own."""

import time
from typing import Protocol


class Clock(Protocol):
    """What durations within a process are measured with. Wall clocks may jump, so nothing is computed from them."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()
