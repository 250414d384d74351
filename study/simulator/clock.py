"""A clock that stands still until it is set."""

EPOCH_START = 1_700_000_000.0


class FakeClock:
    """Time in a simulated study; see `study.clock.Clock`."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._wall_offset = EPOCH_START
        self._monotonic_offset = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back within a process."""
        return self.elapsed + self._monotonic_offset

    def wall(self) -> float:
        """Seconds since 1970, as far as anyone told it."""
        return self.elapsed + self._wall_offset

    def advance_to(self, elapsed: float) -> None:
        """Let time pass until so many seconds after the start. Raises ValueError for a moment in the past."""
        if elapsed < self.elapsed:
            raise ValueError(f"time cannot go back from {self.elapsed} to {elapsed}")
        self.elapsed = elapsed

    def jump(self, seconds: float) -> None:
        """Someone sets the wall clock: forward, or back when negative."""
        self._wall_offset += seconds

    def reboot(self) -> None:
        """Another process, or a machine that was started again: `monotonic` counts from elsewhere."""
        self._monotonic_offset = 7.0 - self.elapsed
