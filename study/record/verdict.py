"""What a scheduler answers and how it is asked. Decisions depend on recorded curves only, never on a clock."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from pydantic import Field

from ssl_core.config import Config


class Verdict(Config):
    """Why a trial shall not simply go on; written to the ledger as it is.

    Attributes:
        action: `stop` ends the trial; `exploit` lets it continue from a copy of another trial's checkpoint.
        scheduler: kind of the rule.
        rung: epoch of the comparison.
        value: what the trial was judged by.
        bar: what it was judged against, in the same unit.
        among: how many trials it was compared with, itself included.
        reason: the same for a person, in one sentence.
        donor: trial number whose checkpoint is taken (`exploit`).
        values: config values of the trial from here on (`exploit`).
    """

    action: Literal["stop", "exploit"] = "stop"
    scheduler: str
    rung: int
    value: float
    bar: float
    among: int
    reason: str
    donor: int | None = None
    values: dict[str, Any] = Field(default_factory=dict)


class Rule(Protocol):
    """A scheduler. `rebuild` from the ledger's curves must leave it as if it had seen every report."""

    def observe(self, number: int, epoch: int, value: float) -> None:
        """A trial reported this objective (of the epoch, not the best so far)."""
        ...

    def verdict(self, number: int, epoch: int) -> Verdict | None:
        """Asked after `observe` of the same epoch; None lets the trial go on."""
        ...

    def rebuild(self, curves: Iterable[tuple[int, Mapping[int, float]]]) -> None:
        """Forget all and observe every (number, epoch -> objective) curve again."""
        ...
