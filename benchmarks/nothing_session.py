"""A session that needs torch, like real ones, and trains nothing: it sleeps."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from study.spec.trial_request import TrialRequest


class NothingSession:
    """Sleeps instead of training."""

    def __init__(self, seconds: float) -> None:
        self.weights = torch.zeros(8)
        self.seconds = seconds
        self.epoch, self.epochs = 0, 2

    def run_epoch(self) -> Mapping[str, float]:
        """Half of the trial's time."""
        time.sleep(self.seconds / self.epochs)
        self.epoch += 1
        return {"val/probe": float(self.weights.sum()) + self.epoch}

    def save(self, folder: Path) -> None:
        """A tiny checkpoint."""
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"epoch": self.epoch}))

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Where it was."""
        self.epoch = int(json.loads((folder / "state.json").read_text())["epoch"])


@dataclass(frozen=True)
class OpenNothing:
    """Opens such sessions in the workers."""

    seconds: float = 0.0

    def __call__(self, request: TrialRequest) -> NothingSession:
        """A session."""
        return NothingSession(self.seconds)
