"""A trial of a pilot run: a real session that trains a few epochs and notes when things happened and their sizes.

probe/began       the process began to open the session; seconds since 1970
probe/opened      it was open
probe/trained     the epoch, validation included, was over; the checkpoint comes after
probe/process     identity of the process, for those that ran several trials
probe/epochs      that the configuration asks for
probe/resident    most memory the process ever held, in bytes
probe/checkpoint  size of the checkpoint before, in bytes; from the second epoch on
"""

import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssl_core.training.contract import Session
from study.spec.trial_request import OpenSession, TrialRequest


class PilotSession:
    """Wraps a session; see the module."""

    def __init__(self, session: Session, epochs: int, began: float) -> None:
        self._session, self._began, self._opened = session, began, time.time()
        self._asked = session.epochs
        self.epochs = min(epochs, session.epochs)
        self._checkpoint: float | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._session.epoch

    def run_epoch(self) -> Mapping[str, float]:
        """One epoch, with what was noted among its metrics."""
        metrics = dict(self._session.run_epoch())
        noted = {
            "began": self._began,
            "opened": self._opened,
            "trained": time.time(),
            "process": float(os.getpid()),
            "epochs": float(self._asked),
            "resident": float(_most_resident()),
        }
        if self._checkpoint is not None:
            noted["checkpoint"] = self._checkpoint
        return {**metrics, **{f"probe/{name}": value for name, value in noted.items()}}

    def save(self, folder: Path) -> None:
        self._session.save(folder)
        self._checkpoint = float(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))

    def load(self, folder: Path, transfer: bool = False) -> None:
        self._session.load(folder, transfer)

    def export(self, folder: Path, lineage: Mapping[str, str]) -> Mapping[str, Path]:
        """As the session does."""
        return self._session.export(folder, lineage)


@dataclass(frozen=True)
class OpenPilot:
    """Opens the sessions of a pilot run in workers; picklable."""

    open_session: OpenSession  # of the study
    epochs: int  # to train at most

    def __call__(self, request: TrialRequest) -> PilotSession:
        """The session of a request."""
        began = time.time()
        return PilotSession(self.open_session(request), self.epochs, began)


def _most_resident() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
