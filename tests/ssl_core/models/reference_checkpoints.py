"""Checkpoints as the cross-modal reference writes them: its names and shapes, random numbers."""

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SHAPES = json.loads((Path(__file__).parents[2] / "golden/reference_shapes.json").read_text())
POINTS, IMAGE, FUSION = "pointnet_state_dict", "resnet18_state_dict", "fusion_network_state_dict"
OUR_NAMES = {"pointnet_cls": "pointnet", "pointnet2_cls_msg": "pointnet2_msg"}
FEATURES = {
    3: ("xyz",),
    10: ("xyz", "scale", "rotation"),
    54: ("xyz", "reference_color", "scale", "rotation"),
}


def random_state(entry: str, seed: int = 0) -> dict[str, Tensor]:
    """A state dict of the entry's names and shapes: every tensor random, the normalisations' statistics too."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in SHAPES[entry].items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.randint(1, 10_000, shape, generator=generator)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) * 1.5 + 0.5
        elif len(shape) == 1:
            # of a normalisation's scale some are negative
            mean, spread = (0.3, 1.0) if name.endswith("weight") else (0.0, 0.03 if ".fc3." in name else 0.3)
            state[name] = torch.randn(shape, generator=generator) * spread + mean
        else:
            weights = torch.randn(shape, generator=generator)
            # a transform near the identity, as trained ones are: far from it, numbers grow a hundredfold
            gain = 0.1 if name.endswith(("stn.fc3.weight", "fstn.fc3.weight")) else 1.4
            state[name] = weights * gain / weights[0].numel() ** 0.5
    return state


def random_checkpoint(model: str = "pointnet_cls", columns: int = 3, seed: int = 0) -> dict[str, Any]:
    """All five keys, as saved after an epoch."""
    momentum = {0: {"momentum_buffer": torch.randn(64, 3, 1, generator=torch.Generator().manual_seed(seed))}}
    return {
        "epoch": 99,
        POINTS: random_state(f"{OUR_NAMES[model]} D={columns}", seed),
        IMAGE: random_state("resnet18", seed + 1),
        FUSION: random_state("fusion", seed + 2),
        "optimizer_state_dict": {"state": momentum, "param_groups": [{"lr": 1e-3, "momentum": 0.9, "params": [0]}]},
    }


def parallel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names that DataParallel gives."""
    return {f"module.{name}": tensor for name, tensor in state.items()}


def classifier(widths: tuple[int, ...] = (512, 256, 128, 10)) -> dict[str, Tensor]:
    """The layers that a point classifier has on its encoder."""
    head = {}
    for number, (fan_in, out) in enumerate(itertools.pairwise(widths), start=1):
        head |= {f"fc{number}.weight": torch.zeros(out, fan_in), f"fc{number}.bias": torch.zeros(out)}
    for number in (1, 2):
        head |= {f"bn{number}.{leaf}": torch.ones(widths[number]) for leaf in ("weight", "bias", "running_mean")}
        head |= {f"bn{number}.running_var": torch.ones(widths[number])}
    return head


def saved(checkpoint: Any, file: Path) -> Path:
    """Written as training scripts do."""
    torch.save(checkpoint, file)
    return file
