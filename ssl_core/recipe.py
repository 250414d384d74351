"""The contract of a recipe: what a folder under `recipes/` must offer, and nothing else.

A recipe is a frozen value. It knows its config class and presets, can say early that a pack cannot serve a config, and
builds the two things a trial needs: an `Objective` (models and loss) and `TrialData` (batches and validation).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.data.pack import Pack
from ssl_core.models.build import ImageBackbone, PointBackbone
from ssl_core.models.encoder import Encoder
from ssl_core.training.optim import AdamWConfig, CosineSchedule, OptimizerConfig, ScheduleConfig

Modality = Literal["points", "image"]
Batch = Mapping[str, Tensor]


class TrainingConfig(Config):
    """What every recipe's training has in common."""

    epochs: int = Field(default=24, ge=1)
    batch_size: int = Field(default=32, ge=2)
    optimizer: OptimizerConfig = AdamWConfig()
    schedule: ScheduleConfig = CosineSchedule()
    amp: bool = Field(default=True, description="mixed precision on CUDA; the CPU always computes in float32")
    device: str = "auto"


class RecipeConfig(Config):
    """Base of every recipe's config."""

    training: TrainingConfig = TrainingConfig()


@dataclass(frozen=True)
class LossTerms:
    """The differentiable total and each named term, as scalars."""

    total: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder and the config of its backbone, ready for a bundle."""

    encoder: Encoder
    backbone: PointBackbone | ImageBackbone


class Objective(Protocol):
    """Models and loss of one trial."""

    def module(self) -> nn.Module:
        """All parameters and buffers, as one module."""
        ...

    def loss(self, batch: Batch) -> LossTerms:
        """The loss of one batch, on the module's device."""
        ...

    def encoders(self) -> Mapping[Modality, TrainedEncoder]:
        """What is worth registering."""
        ...


class TrialData(Protocol):
    """Batches and validation of one trial."""

    iterations_per_epoch: int

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch number `epoch` (from 0): the same ones whenever they are asked for."""
        ...

    def validate(self, objective: Any) -> dict[str, float]:
        """Held-out metrics. Must not touch the test split or change the objective."""
        ...


@dataclass(frozen=True)
class Recipe:
    """One published system.

    Attributes:
        name: folder name, also the value of `--recipe`.
        title: how the paper is called in texts.
        config_type: its config class.
        presets: functions returning a config, by name; `quick` and `paper` at least.
        check: raises InfeasibleError when the pack cannot serve the config; cheap.
        objective: builds models and loss from (config, seed).
        data: builds batches and validation from (config, pack, seed, device).
    """

    name: str
    title: str
    config_type: type[RecipeConfig]
    presets: Mapping[str, Callable[[], RecipeConfig]]
    check: Callable[[Any, Pack], None]
    objective: Callable[[Any, int], Objective]
    data: Callable[[Any, Pack, int, torch.device], TrialData]

    def model_name(self, modality: Modality) -> str:
        """Registered-model name: `cross-modal-points`."""
        return f"{self.name.replace('_', '-')}-{modality}"
