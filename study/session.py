"""What the study asks of its trials: a session that can train."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from ssl_core.config import Config


class TrialRequest(Config):
    """All a worker needs to run a trial.

    Attributes:
        number: trial number within the study.
        attempt: 1 for the first start, higher after crashes.
        losses: attempts that went with their machine, which is not the trial's fault.
        share: of resources, as a multiple of what a trial of this study gets; above 1 after it ran out of memory.
        values: dotted config values chosen by the search.
        seed: of everything random in the trial.
        folder: the trial's folder on the study's storage, absolute.
        reported_epoch: last one everybody knows; a later one in the checkpoint is told again, not trained again.
        transfer: its checkpoint may be of another trial of the study, with other values (see `study.schedule.pbt`).
    """

    number: int
    attempt: int = 1
    losses: int = 0
    values: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    folder: str
    reported_epoch: int = 0
    share: float = Field(default=1.0, gt=0)
    transfer: bool = False

    @property
    def path(self) -> Path:
        """`folder` as a path."""
        return Path(self.folder)


class Session(Protocol):
    """One trial in progress."""

    @property
    def epoch(self) -> int:
        """Epochs done."""
        ...

    @property
    def epochs(self) -> int:
        """Epochs to do."""
        ...

    def run_epoch(self) -> Mapping[str, float]:
        """Train one epoch and return its metrics. Raises DivergedError."""
        ...

    def save(self, folder: Path) -> None:
        """Write a checkpoint into a folder that does not exist yet."""
        ...

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Continue from a checkpoint. Raises CheckpointError when it is not one of this trial.

        With `transfer` one of another trial is welcome too: same recipe and data, other values and seed.
        """
        ...


OpenSession = Callable[[TrialRequest], Session]
"""Builds a session in the worker; picklable. Raises InfeasibleError when the data cannot serve the values."""

CheckValues = Callable[[Mapping[str, Any]], None]
"""Refuses a configuration before it costs a worker: raises ConfigError (InfeasibleError is one)."""
