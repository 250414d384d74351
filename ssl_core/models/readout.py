"""What is read out of an encoder that was trained under a projection head: the backbone, or a layer of the head.

The literature throws the head away (SimCLR, Chen et al. 2020, §4.2: its contrastive loss takes from the head's output
what a task may need). Where the head learns to predict another network's features, its layers carry what was learnt
(docs/LOG.md), so which of them is exported is a choice, to be decided on held-out objects.
"""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config

Part = Literal["backbone", "hidden", "head"]


def _trained(frozen: bool) -> bool:
    return not frozen


class ReadoutConfig(Config):
    """A head of two linear layers, and which parts of the network the features are made of, side by side."""

    hidden: int = Field(default=512, ge=1, le=16384)
    output: int = Field(default=1280, ge=1, le=16384, description="width of what the head predicts")
    parts: tuple[Part, ...] = Field(default=("hidden",), min_length=1, max_length=3)
    # left out of the text where it is trained, so that cards of before keep their digests
    frozen: bool = Field(default=False, exclude_if=_trained, description="the network under the head was not trained")

    def width(self, backbone: int) -> int:
        """Of the features over a backbone's."""
        return sum({"backbone": backbone, "hidden": self.hidden, "head": self.output}[part] for part in self.parts)


class HiddenLayer(nn.Module):
    """[B, columns] -> linear without bias, batch normalisation, ReLU -> [B, hidden]."""

    def __init__(self, columns: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.linear(features)))


class ReadOut(nn.Module):
    """A backbone under its head: the features are `parts` side by side, [B, width].

    A layer that no part needs is left out: a bundle holds what is read.
    """

    def __init__(self, backbone: nn.Module, hidden: HiddenLayer, output: nn.Linear, parts: tuple[Part, ...]) -> None:
        super().__init__()
        self.backbone, self.parts = backbone, parts
        self.hidden = None if set(parts) == {"backbone"} else hidden
        self.output = output if "head" in parts else None

    def forward(self, x: Tensor) -> Tensor:
        found: dict[Part, Tensor] = {"backbone": self.backbone(x)}
        if self.hidden is not None:
            found["hidden"] = self.hidden(found["backbone"])
        if self.output is not None:
            found["head"] = self.output(found["hidden"])
        return torch.cat([found[part] for part in self.parts], dim=1)


def alone(read: ReadOut) -> ReadOut:
    """A copy that takes the backbone's features [B, columns] in place of its input."""
    backbone, read.backbone = read.backbone, nn.Identity()
    try:
        return copy.deepcopy(read)
    finally:
        read.backbone = backbone


def head_layers(columns: int, config: ReadoutConfig) -> tuple[HiddenLayer, nn.Linear]:
    """The head's two layers over features [B, columns]."""
    return HiddenLayer(columns, config.hidden), nn.Linear(config.hidden, config.output)
