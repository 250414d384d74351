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
from ssl_core.errors import CheckpointError, ConfigError, StorageError


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
    partial = folder.with_name(f".{folder.name}.new")
    retired = folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({name: tensor.detach().contiguous() for name, tensor in model.items()}, partial / "model.safetensors")
        torch.save(training, partial / "training.pt")
        (partial / "state.json").write_text(state.to_json())
        shutil.rmtree(retired, ignore_errors=True)
        if folder.exists():
            folder.rename(retired)
        partial.rename(folder)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"cannot write checkpoint {folder}: {error.strerror or error}; free space") from error


def load_checkpoint(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any], CheckpointState]:
    """Model tensors, training state and identity. Raises CheckpointError when absent, incomplete or unreadable."""
    retired = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and retired.exists():
        folder = retired  # the process died between the two renames of save_checkpoint
    try:
        state = CheckpointState.from_json((folder / "state.json").read_text())
        model = load_file(folder / "model.safetensors", device=str(device))
        training = torch.load(folder / "training.pt", map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no whole checkpoint at {folder} ({error.filename} is missing)") from None
    except (OSError, ValueError, RuntimeError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"checkpoint {folder} is unreadable: {error}") from None
    return model, training, state


def has_checkpoint(folder: Path) -> bool:
    """Whether `load_checkpoint` would find one."""
    return any((f / "state.json").is_file() for f in (folder, folder.with_name(f".{folder.name}.old")))
