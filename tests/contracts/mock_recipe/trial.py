"""The stage, and a session that owes nothing to the one loop: cameras in, pictures out, by Adam."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import CheckpointError, DivergedError, InfeasibleError
from ssl_core.models.bundle import save_bundle
from ssl_core.models.gaussian_field import COLOURS, camera_vector
from ssl_core.models.modes import evaluating
from ssl_core.training.config import choose_device
from tests.contracts.mock_recipe.config import MockConfig

METRIC = "val/mse"


def check(config: MockConfig, scene: ScenePack) -> None:
    """Cheap: no pixel is read."""
    for split in ("train", "val"):
        if not len(scene.views(split)):
            raise InfeasibleError(f"{scene.path} has no {split} views; pack the scene again with more pictures")


def make_pictures(config: MockConfig, scene: ScenePack, folder: Path, device: torch.device) -> None:
    """The stage: `pictures.npy`, see `table`."""
    np.save(folder / "pictures.npy", table(scene, scene.views("train").tolist())[:: config.pictures.every])


def table(scene: ScenePack, views: list[int]) -> np.ndarray:
    """[views, 16 + 3 H W] float32: each camera, and its picture's colours, channels first."""
    cameras = np.stack([camera_vector(scene.camera(view)).numpy() for view in views])
    colours = np.stack([scene.image(view).transpose(2, 0, 1).ravel() for view in views]) / 255
    return np.concatenate([cameras, colours], axis=1).astype(np.float32)


class MockSession:
    """See `ssl_core.training.contract.Session`."""

    def __init__(self, config: MockConfig, scene: ScenePack, stages: Mapping[str, Path], seed: int) -> None:
        self.config, self.seed, self.data = config, seed, scene.digest
        self.device = choose_device()
        self.epoch, self.epochs = 0, config.epochs
        self.pictures = torch.from_numpy(np.load(stages["pictures"] / "pictures.npy")).to(self.device)
        self.held_out = torch.from_numpy(table(scene, scene.views("val").tolist())).to(self.device)
        self.field = config.field.build(seed).to(self.device)
        self.adam = torch.optim.Adam(self.field.parameters(), lr=config.rate)
        self.best: dict[str, Tensor] = {}
        self.best_error = float("inf")

    def run_epoch(self) -> dict[str, float]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.pictures))
        total = 0.0
        for some in torch.from_numpy(order).split(self.config.batch):
            loss = self._error(self.pictures[some.to(self.device)])
            if not torch.isfinite(loss):
                raise DivergedError(f"the error of colours became {loss.item()} in epoch {self.epoch + 1}")
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
            total += loss.item() * len(some)
        self.epoch += 1
        with evaluating(self.field):
            error = self._error(self.held_out).item()
        if error < self.best_error:
            self.best_error = error
            self.best = {name: value.clone() for name, value in self.field.state_dict().items()}
        return {"train/mse": total / len(order), METRIC: error}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        state = {"epoch": self.epoch, "best_error": self.best_error, "whose": self._whose()}
        weights = {"field": self.field.state_dict(), "best": self.best, "adam": self.adam.state_dict()}
        torch.save({**state, **weights}, folder / "state.pt")

    def load(self, folder: Path, transfer: bool = False) -> None:
        state = torch.load(folder / "state.pt", map_location=self.device, weights_only=True)
        ours = self._whose()
        for name, theirs in state["whose"].items():
            if theirs != ours[name] and not (transfer and name in ("config", "seed")):
                raise CheckpointError(f"checkpoint {folder} has {name} {theirs}, this trial {ours[name]}")
        self.field.load_state_dict(state["field"])
        self.adam.load_state_dict(state["adam"])
        for group in self.adam.param_groups:
            group["lr"] = self.config.rate
        self.epoch, self.best, self.best_error = state["epoch"], state["best"], state["best_error"]

    def export(self, folder: Path, lineage: Mapping[str, str]) -> dict[str, Path]:
        field = self.config.field.build(self.seed)
        field.load_state_dict(self.best)
        save_bundle(field.eval(), self.config.field, folder / "field", name="mock-recipe-field", lineage=lineage)
        return {"field": folder / "field"}

    def _error(self, pictures: Tensor) -> Tensor:
        drawn = self.field(pictures[:, :16])[:, :COLOURS]
        return functional.mse_loss(drawn.flatten(1), pictures[:, 16:])

    def _whose(self) -> dict[str, str]:
        return {"recipe": "mock_recipe", "data": self.data, "config": self.config.digest(), "seed": str(self.seed)}
