"""Sessions without torch: what a trial can do, right and wrong, in milliseconds."""

import json
import math
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ssl_core.config import Config
from ssl_core.errors import CheckpointError, ConfigError, DivergedError, InfeasibleError, StorageError
from study.spec.trial_request import TrialRequest

Mode = Literal[
    "good", "nan", "diverge", "raise", "raise_once", "infeasible", "die", "die_once", "full", "silent", "greedy"
]


class FakeConfig(Config):
    quality: float = 0.5
    mode: Mode = "good"
    epochs: int = 4
    pace: float = 0.0


def fake_preset(recipe: str, preset: str) -> FakeConfig:
    if recipe != "fake":
        raise ConfigError(f"unknown recipe '{recipe}'")
    return FakeConfig()


class FakeSession:
    """Objective: quality * epoch / epochs. Keeps a log of the epochs it really trained."""

    def __init__(self, request: TrialRequest, base: FakeConfig) -> None:
        self.config = base.model_copy(update=dict(request.values))
        if self.config.mode == "infeasible":
            raise InfeasibleError("more points than any object keeps (256 > 100); lower points.num_points")
        self.request = request
        self.epoch = 0
        self.epochs = self.config.epochs

    def run_epoch(self) -> Mapping[str, float]:
        time.sleep(self.config.pace)
        self.epoch += 1
        with (self.request.path.parent.parent / "trained.txt").open("a") as stream:
            stream.write(f"{self.request.number} {self.epoch} {os.getpid()}\n")
        if self.epoch == 2:
            self._misbehave()
        value = self.config.quality * self.epoch / self.epochs
        if self.config.mode == "nan" and self.epoch == 2:
            value = math.nan
        metrics = {"val/probe": value, "train/loss": 1.0 / self.epoch}
        return {"train/loss": 1.0} if self.config.mode == "silent" else metrics

    def _misbehave(self) -> None:
        first = self.request.attempt == 1
        match self.config.mode:
            case "diverge":
                raise DivergedError("loss became nan in iteration 17")
            case "raise":
                raise ValueError("boom")
            case "raise_once" if first:
                raise ValueError("boom")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die_once" if first:
                os.kill(os.getpid(), signal.SIGKILL)
            case "greedy" if self.request.share < 4:
                raise MemoryError("four times as much would do")
            case "full":
                raise StorageError(f"{self.request.folder}: no space left on device; free some")

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"epoch": self.epoch, "number": self.request.number}))

    def load(self, folder: Path, transfer: bool = False) -> None:
        state = json.loads((folder / "state.json").read_text())
        if state["number"] != self.request.number and not transfer:
            raise CheckpointError(f"{folder} is of trial {state['number']}")
        self.epoch = state["epoch"]


class OpenFake:
    """Picklable `open_session`."""

    def __init__(self, base: FakeConfig | None = None) -> None:
        self.base = base or FakeConfig()

    def __call__(self, request: TrialRequest) -> FakeSession:
        return FakeSession(request, self.base)


def trained(folder: Path) -> list[tuple[int, int]]:
    """(trial, epoch) in the order of training, over all processes."""
    path = folder / "trained.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]
