"""Image backbones: torchvision's ResNets (He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385) without their
classifier.
"""

from pathlib import Path
from typing import Literal, assert_never

import safetensors
import safetensors.torch
import torch
import torchvision
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import ConfigError


class ResNetConfig(Config):
    """A ResNet. Random weights unless a local file is given; nothing is ever downloaded."""

    kind: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    weights_file: str | None = Field(
        default=None,
        description="initial weights: a state dict, .safetensors or what torch.load reads with weights_only",
    )

    @property
    def feature_dim(self) -> int:
        """Width of the pooled features."""
        return 2048 if self.kind == "resnet50" else 512


def build_resnet(config: ResNetConfig) -> nn.Module:
    """[B, 3, H, W] -> [B, feature_dim], averaged over the last map (so non-negative). Raises ConfigError."""
    match config.kind:
        case "resnet18":
            resnet: nn.Module = torchvision.models.resnet18(weights=None)
        case "resnet34":
            resnet = torchvision.models.resnet34(weights=None)
        case "resnet50":
            resnet = torchvision.models.resnet50(weights=None)
        case _:
            assert_never(config.kind)
    resnet.fc = nn.Identity()
    if config.weights_file is not None:
        _load_weights(resnet, config)
    return resnet


def _load_weights(resnet: nn.Module, config: ResNetConfig) -> None:
    """Fill `resnet` from the file, its classifier (fc.*) left aside; every other tensor must be there and
    fit.
    """
    path = Path(config.weights_file or "")
    state = {name: tensor for name, tensor in _read_weights(path).items() if not name.startswith("fc.")}
    wanted = resnet.state_dict()
    wrong = sorted(wanted.keys() ^ state.keys()) or sorted(n for n in wanted if wanted[n].shape != state[n].shape)
    if wrong:
        names = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ConfigError(
            f"weights_file {path}: not a torchvision {config.kind} state dict "
            f"(missing, unknown or misshapen: {names}); choose the matching kind or another file"
        )
    resnet.load_state_dict(state)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(
            f"weights_file {path}: no such file; give a local state dict or leave weights_file unset for random weights"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ConfigError(
            f"weights_file {path}: cannot be read ({_first_line(error)}); expected .safetensors or a torch state dict"
        ) from None
    except Exception as error:  # pickle.UnpicklingError: weights_only refused what the file holds
        raise ConfigError(
            f"weights_file {path}: refused, it holds more than tensors ({_first_line(error)}); "
            "save the state dict alone"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(
            f"weights_file {path}: expected a state dict of name -> tensor; save model.state_dict() alone"
        )
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
