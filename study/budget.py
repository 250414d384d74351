"""When a study starts no more trials. `AfterTrials(50) | AfterHours(2)` is spent when either is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spending:
    """What a study has used: trials that count, and the wall time of this invocation."""

    trials: int
    seconds: float


@dataclass(frozen=True)
class AfterTrials:
    """Spent after this many trials."""

    trials: int

    def spent(self, spending: Spending) -> str | None:
        """The reason when spent, else None."""
        return f"all {self.trials} trials are done" if spending.trials >= self.trials else None

    def __or__(self, other: "Budget") -> "Either":
        return Either(self, other)


@dataclass(frozen=True)
class AfterHours:
    """Spent after this wall time."""

    hours: float

    def spent(self, spending: Spending) -> str | None:
        """The reason when spent, else None."""
        return f"{self.hours:g} hours are over" if spending.seconds >= 3600 * self.hours else None

    def __or__(self, other: "Budget") -> "Either":
        return Either(self, other)


@dataclass(frozen=True)
class Either:
    """Spent when either is."""

    first: "Budget"
    second: "Budget"

    def spent(self, spending: Spending) -> str | None:
        """The reason of the first that is spent."""
        return self.first.spent(spending) or self.second.spent(spending)

    def __or__(self, other: "Budget") -> "Either":
        return Either(self, other)


Budget = AfterTrials | AfterHours | Either


def budget_of(trials: int, hours: float | None) -> Budget:
    """The budget of a spec."""
    return AfterTrials(trials) if hours is None else AfterTrials(trials) | AfterHours(hours)
