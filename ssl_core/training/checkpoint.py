"""Checkpoints: a folder of data, never of code, which appears whole or not at all. The best states that they keep.

model.safetensors    parameters and buffers
training.pt          optimiser and scaler state, read with weights_only=True
state.json           epoch, iteration, identity of the trial; written last

A trial trains several models with one loss, and their scores peak at different epochs: on small sets the image branch
often peaks in the first ones. What is worth registering of each is its own best epoch.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import CheckpointError, ConfigError
from ssl_core.files.whole import standing, whole_folder
from ssl_core.training.contract import Output, Session


class CheckpointState(Config):
    """Where the trial stood and which trial it is."""

    format_version: int = 1
    recipe: str
    config_digest: str
    pack_digest: str
    seed: int
    epoch: int
    iteration: int
    metrics: dict[str, float] = Field(default_factory=dict)
    best: dict[str, float] = Field(default_factory=dict)
    """best score so far, by output; its weights are among the model's tensors"""


def save_checkpoint(folder: Path, model: dict[str, Tensor], training: dict[str, Any], state: CheckpointState) -> None:
    """Replace `folder` by a new checkpoint; a crash leaves the old or the new one whole. Raises StorageError."""
    with whole_folder(folder, remedy="free space") as new:
        save_file({name: tensor.detach().contiguous() for name, tensor in model.items()}, new / "model.safetensors")
        torch.save(training, new / "training.pt")
        (new / "state.json").write_text(state.to_json())


def load_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any], CheckpointState]:
    """Model tensors, training state and identity. Raises CheckpointError when absent, incomplete or unreadable."""
    found = standing(folder)
    try:
        state = CheckpointState.from_json((found / "state.json").read_text())
        model = load_file(found / "model.safetensors", device=str(device))
        training = torch.load(found / "training.pt", map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no whole checkpoint at {folder} ({error.filename} is missing)") from None
    except (OSError, ValueError, RuntimeError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"checkpoint {folder} is unreadable: {error}") from None
    return model, training, state


def has_checkpoint(folder: Path) -> bool:
    """Whether there is one to be loaded."""
    return standing(folder).is_dir()


def replace_checkpoint(session: Session, folder: Path) -> None:
    """Save any session in the place of its last checkpoint; a crash leaves the old or the new one whole."""
    with whole_folder(folder) as new:
        new.rmdir()  # a session makes it itself
        session.save(new)


PREFIX = "best."
"""Of the names of best tensors in a checkpoint."""


class BestStates:
    """Copies of each output's tensors at the epoch where its score was best."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.values: dict[str, float] = {}
        self._outputs = outputs
        self._states: dict[str, dict[str, Tensor]] = {}
        self._seen: set[str] = set()

    def observe(self, models: Mapping[str, nn.Module], metrics: Mapping[str, float], trained: nn.Module) -> None:
        """Copy the tensors of every output whose score has improved. Metrics without a score change nothing of it.

        Only those that are `trained`'s too: the rest, a frozen network's, is the same at every epoch.
        """
        self._seen.update(metrics)
        ours = {tensor.data_ptr() for tensor in trained.state_dict().values()}
        for output in self._outputs:
            value = metrics.get(output.select.metric)
            if value is not None and output.select.better(value, self.values.get(output.name)):
                self.values[output.name] = value
                state = models[output.name].state_dict()
                kept = {name: tensor for name, tensor in state.items() if tensor.data_ptr() in ours}
                self._states[output.name] = {name: tensor.detach().clone() for name, tensor in kept.items()}

    def require(self) -> None:
        """Raises ConfigError for an output whose score never came, naming the metrics that did."""
        for output in self._outputs:
            if output.name not in self._states:
                there = ", ".join(sorted(self._seen)) or "none"
                raise ConfigError(
                    f"output '{output.name}' is selected by '{output.select.metric}', which no epoch reported as a "
                    f"finite number; there is {there}; let the trial report it, or select by another"
                )

    def tensors(self) -> dict[str, Tensor]:
        """All copies by checkpoint name: `best.<output>.<parameter>`."""
        return {
            f"{PREFIX}{output}.{name}": tensor
            for output, state in self._states.items()
            for name, tensor in state.items()
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, float], seen: Mapping[str, float]) -> None:
        """Inverse of `tensors`; `seen` are the metrics of the checkpoint's epoch."""
        self.values, self._seen = dict(values), set(seen)
        self._states = {output: {} for output in values}
        for key, tensor in tensors.items():
            if key.startswith(PREFIX):
                output, _, name = key.removeprefix(PREFIX).partition(".")
                self._states[output][name] = tensor

    def applied_to(self, models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Copies of the outputs' models with their best tensors. Raises ConfigError as `require`."""
        self.require()
        best = {}
        for output in self._outputs:
            best[output.name] = copy.deepcopy(models[output.name])
            found = best[output.name].load_state_dict(self._states[output.name], strict=False)
            if found.unexpected_keys:
                raise CheckpointError(f"output '{output.name}' has no tensor {found.unexpected_keys[0]}, its best had")
        return best


def check_owner(folder: Path, state: CheckpointState, ours: CheckpointState, transfer: bool) -> None:
    """Raises CheckpointError when a checkpoint is not this trial's; with `transfer`, when it is of another recipe or
    pack."""
    for name in ("recipe", "pack_digest") if transfer else ("recipe", "config_digest", "pack_digest", "seed"):
        if getattr(state, name) != getattr(ours, name):
            raise CheckpointError(
                f"checkpoint {folder} has {name} {getattr(state, name)}, this trial {getattr(ours, name)}; it belongs "
                "to another trial"
            )
