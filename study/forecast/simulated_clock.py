"""A clock that stands still until it is set."""


class FakeClock:
    """Time in a simulated study; see `study.spec.clock.Clock`. `elapsed` counts seconds from its start."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back within a process."""
        return self.elapsed

    def advance_to(self, elapsed: float) -> None:
        """Let time pass until so many seconds after the start. Raises ValueError for a moment in the past."""
        if elapsed < self.elapsed:
            raise ValueError(f"time cannot go back from {self.elapsed} to {elapsed}")
        self.elapsed = elapsed
