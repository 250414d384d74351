"""Checkpoints: a folder of data, never of code, which appears whole or not at all.

model.safetensors    parameters and buffers
training.pt          optimiser and scaler state, read with weights_only=True
state.json           epoch, iteration, identity of the trial; written last
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ssl_core.config import Config
from ssl_core.errors import CheckpointError, ConfigError
from ssl_core.files.whole import put_in_place, standing, storage_errors, whole_folder
from ssl_core.training.contract import Session


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
    making = folder.with_name(f".{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    session.save(making)
    with storage_errors(folder):
        put_in_place(making, folder)
