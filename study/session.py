"""What the study asks of its neighbours: a session that can train, and a log that can remember."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from ssl_core.config import Config


class TrialRequest(Config):
    """All a worker needs to run a trial.

    Attributes:
        number: trial number within the study.
        attempt: 1 for the first start, higher after crashes.
        values: dotted config values chosen by the search.
        seed: of everything random in the trial.
        folder: the trial's folder on the study's storage, absolute.
        reported_epoch: last one the ledger knows; a later one in the checkpoint is told again, not trained again.
    """

    number: int
    attempt: int = 1
    values: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    folder: str
    reported_epoch: int = 0

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

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint. Raises CheckpointError when it is not one of this trial."""
        ...


OpenSession = Callable[[TrialRequest], Session]
"""Builds a session in the worker; picklable. Raises InfeasibleError when the data cannot serve the values."""

CheckValues = Callable[[Mapping[str, Any]], None]
"""Refuses a configuration before it costs a worker: raises ConfigError (InfeasibleError is one)."""

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


class RunLogLike(Protocol):
    """The part of `registry.run_log.RunLog` that a study uses. Starting what exists continues it."""

    @property
    def tracking_uri(self) -> str: ...

    def start_study(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str: ...

    def start_trial(
        self, study_run_id: str, number: int, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str: ...

    def log_epoch(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None: ...

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None: ...

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None: ...

    def log_text(self, run_id: str, text: str, name: str) -> None: ...

    def running(self, study_run_id: str) -> list[str]: ...

    def finish(self, run_id: str, status: RunStatus, tags: Mapping[str, str] | None = None) -> None: ...
