"""What is read out of an encoder that was trained under a projection head: the backbone, or a layer of the head.

The literature throws the head away (SimCLR, Chen et al. 2020, §4.2: its contrastive loss takes from the head's output
what a task may need). Where the head learns to predict another network's features, its layers carry what was learnt
(docs/LOG.md), so which of them is exported is a choice, to be decided on held-out objects.

The part `ridge` is a linear map of the backbone that no gradient step has seen (`ssl_core.models.ridge`).
"""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config

Part = Literal["backbone", "hidden", "head", "ridge"]


class ReadoutConfig(Config):
    """A head of two linear layers and a ridge regression over one backbone, and which of these parts the features are
    made of, side by side."""

    hidden: int = Field(default=512, ge=1, le=16384)
    output: int = Field(default=1280, ge=1, le=16384, description="width of what head and ridge regression predict")
    parts: tuple[Part, ...] = Field(default=("hidden",), min_length=1, max_length=4)

    def width(self, backbone: int) -> int:
        """Of the features over a backbone's."""
        widths = {"backbone": backbone, "hidden": self.hidden, "head": self.output, "ridge": self.output}
        return sum(widths[part] for part in self.parts)


class HiddenLayer(nn.Module):
    """[B, columns] -> linear without bias, batch normalisation, ReLU -> [B, hidden]."""

    def __init__(self, columns: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.linear(features)))


class Head(nn.Module):
    """Layers over a backbone's features [B, columns]; the ridge regression only where it is read."""

    def __init__(self, columns: int, config: ReadoutConfig) -> None:
        super().__init__()
        self.hidden = HiddenLayer(columns, config.hidden)
        self.output = nn.Linear(config.hidden, config.output)
        self.ridge = nn.Linear(columns, config.output) if "ridge" in config.parts else None

    def forward(self, features: Tensor) -> dict[Part, Tensor]:
        """Every part, each [B, width]."""
        hidden = self.hidden(features)
        found: dict[Part, Tensor] = {"backbone": features, "hidden": hidden, "head": self.output(hidden)}
        return found if self.ridge is None else {**found, "ridge": self.ridge(features)}

    def trained(self) -> tuple[nn.Parameter, ...]:
        """What gradients move: all but the ridge regression."""
        return (*self.hidden.parameters(), *self.output.parameters())


class ReadOut(nn.Module):
    """A backbone under its head: the features are `parts` side by side, [B, width].

    A layer that no part needs is left out: a bundle holds what is read.
    """

    def __init__(self, backbone: nn.Module, head: Head, parts: tuple[Part, ...]) -> None:
        super().__init__()
        self.backbone, self.parts = backbone, parts
        self.hidden = head.hidden if {"hidden", "head"} & set(parts) else None
        self.output = head.output if "head" in parts else None
        self.ridge = head.ridge if "ridge" in parts else None

    def forward(self, x: Tensor) -> Tensor:
        found: dict[Part, Tensor] = {"backbone": self.backbone(x)}
        if self.hidden is not None:
            found["hidden"] = self.hidden(found["backbone"])
        if self.output is not None:
            found["head"] = self.output(found["hidden"])
        if self.ridge is not None:
            found["ridge"] = self.ridge(found["backbone"])
        return torch.cat([found[part] for part in self.parts], dim=1)


def alone(read: ReadOut) -> ReadOut:
    """A copy that takes the backbone's features [B, columns] in place of its input."""
    backbone, read.backbone = read.backbone, nn.Identity()
    try:
        return copy.deepcopy(read)
    finally:
        read.backbone = backbone
