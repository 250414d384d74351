"""Image backbones: torchvision's ResNets (He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385) without their
classifier.
"""

from pathlib import Path
from typing import Literal, assert_never

from pydantic import Field
from torch import nn

from ssl_core.config import Config
from ssl_core.models.resnet_weights import read_resnet


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
    import torchvision  # takes as long as torch, and who only reads configs can do without

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
        resnet.load_state_dict(read_resnet(Path(config.weights_file), resnet.state_dict(), config.kind).fitting)
    return resnet
