"""How a trial can end, and what it says each epoch.

    COMPLETE     ran all its epochs
    STOPPED      ended early by the scheduler; the reason says at which rung and against what
    INFEASIBLE   the configuration was refused, before or when it was opened
    DIVERGED     a loss, gradient or metric became non-finite
    CRASHED      an exception or a dead process, more often than retries allow; the traceback is kept

A trial without an outcome is unfinished: it runs, waits for a retry, or goes on when the study is started again.
"""

import math
from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from ssl_core.config import Config


class Outcome(StrEnum):
    """The end of a trial."""

    COMPLETE = "COMPLETE"
    STOPPED = "STOPPED"
    INFEASIBLE = "INFEASIBLE"
    DIVERGED = "DIVERGED"
    CRASHED = "CRASHED"

    @property
    def has_value(self) -> bool:
        """Whether the trial's objective may be compared with others."""
        return self in (Outcome.COMPLETE, Outcome.STOPPED)


class EpochReport(Config):
    """What a trial sends to the trial manager after each epoch, or when it ends without one."""

    number: int  # trial number
    epoch: int = Field(default=0, ge=0)  # epochs done; 0 when it ended before the first
    epochs: int = Field(default=0, ge=0)  # epochs it wants to do; 0 when it never opened
    metrics: dict[str, float] = Field(default_factory=dict)  # finite metrics of this epoch
    seconds: float = 0.0  # wall time of the epoch, opening included
    end: Outcome | None = None  # outcome when this was the last report
    reason: str = ""  # why, for a person, whenever `end` is not COMPLETE
    best_epoch: int | None = None  # so far, by the objective
    best_value: float | None = None
    # with the first epoch: what the models scored before it. For people; no scheduler sees it
    untrained: dict[str, float] = Field(default_factory=dict)


def finite_only(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are numbers."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def better(value: float, than: float | None, direction: str) -> bool:
    """Whether `value` improves on `than` (None: always)."""
    if than is None:
        return True
    return value > than if direction == "maximize" else value < than


def one_line(error: BaseException, limit: int = 300) -> str:
    """`KindOfError: message` on one line."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    text = f"{name}: {text}" if text else name
    return text if len(text) <= limit else text[: limit - 1] + "…"
