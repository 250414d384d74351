"""What a worker is asked: to open one trial of the study as a session."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ssl_core.config import Config
from ssl_core.training.contract import Session


class TrialRequest(Config):
    """All a worker needs to run a trial."""

    number: int  # trial number within the study
    attempt: int = 1  # 1 for the first start, higher after crashes
    losses: int = 0  # attempts that went with their machine, which is not the trial's fault
    values: dict[str, Any] = Field(default_factory=dict)  # dotted config values chosen by the search
    seed: int = 0  # of everything random in the trial
    folder: str  # the trial's folder on the study's storage, absolute
    reported_epoch: int = 0  # last one everybody knows; a later one in the checkpoint is told again, not trained again
    # of resources, as a multiple of what a trial of this study gets; above 1 after it ran out of memory
    share: float = Field(default=1.0, gt=0)
    # its checkpoint may be of another trial of the study, with other values (see `study.schedulers.pbt`)
    transfer: bool = False

    @property
    def path(self) -> Path:
        """`folder` as a path."""
        return Path(self.folder)


OpenSession = Callable[[TrialRequest], Session]
"""Builds a session in the worker; picklable. Raises InfeasibleError when the data cannot serve the values."""

CheckValues = Callable[[Mapping[str, Any]], None]
"""Refuses a configuration before it costs a worker: raises ConfigError (InfeasibleError is one)."""
