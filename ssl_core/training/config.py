"""Settings that every trained recipe has in common, with the devices, optimisers and schedules that they name.

Schedules count iterations, so a learning rate follows from a step number.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, assert_never

import torch
from pydantic import Field
from torch import nn

from ssl_core.config import Config
from ssl_core.config_roles import EPOCHS, LIVE
from ssl_core.errors import ConfigError
from ssl_core.training.contract import ParameterGroup


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ConfigError when CUDA is asked for and absent."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device '{name}' was asked for but torch sees no CUDA device; use device=cpu or auto")
    return torch.device(name)


class SGDConfig(Config):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)


class AdamConfig(Config):
    """Adam (Kingma & Ba 2015); weight decay as an L2 term in the gradient."""

    kind: Literal["adam"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)


class AdamWConfig(Config):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)


OptimizerConfig = Annotated[SGDConfig | AdamConfig | AdamWConfig, Field(discriminator="kind")]


class ConstantSchedule(Config):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"


class StepSchedule(Config):
    """Times `decay_rate` every `decay_steps` iterations."""

    kind: Literal["step"] = "step"
    decay_steps: int = Field(default=5000, ge=1)
    decay_rate: float = Field(default=0.1, gt=0, le=1)


class CosineSchedule(Config):
    """Linear warm-up over a share of the trial, then half a cosine down to `final` times the rate."""

    kind: Literal["cosine"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all iterations")
    final: float = Field(default=0.01, ge=0, le=1)


class MilestoneSchedule(Config):
    """Given factors from given iterations on: what people do by hand when they restart with another rate."""

    kind: Literal["milestones"] = "milestones"
    milestones: tuple[tuple[int, float], ...] = Field(description="(first iteration, factor), rising")


ScheduleConfig = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | MilestoneSchedule, Field(discriminator="kind")
]


class SteppedGroups:
    """One optimiser over groups of parameters that have rates, weight decay and clipping of their own.

    Args:
        config: the optimiser.
        groups: what it steps.
        clip_norm: largest norm of the gradient of all groups that have none of their own; None leaves it.
    """

    def __init__(self, config: OptimizerConfig, groups: Sequence[ParameterGroup], clip_norm: float | None) -> None:
        self._groups, self._lr = groups, config.lr
        self.optimizer = build_optimizer(config, groups)
        self.trained = [p for group in groups for p in group.parameters if p.requires_grad]
        rest = [p for group in groups if group.clip_norm is None for p in group.parameters]
        self._clipped = [(group.parameters, group.clip_norm) for group in groups if group.clip_norm is not None]
        if clip_norm is not None and rest:
            self._clipped.append((rest, clip_norm))

    def set_rate(self, factor: float) -> float:
        """Scale every group's own rate by the schedule's factor; the optimiser's rate after it."""
        lr = self._lr * factor
        for group, ours in zip(self.optimizer.param_groups, self._groups, strict=True):
            group["lr"] = lr * ours.rate
        return lr

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """Clip what is to be clipped, then step."""
        if self._clipped:
            scaler.unscale_(self.optimizer)
        for parameters, norm in self._clipped:
            nn.utils.clip_grad_norm_(parameters, norm)
        scaler.step(self.optimizer)


def build_optimizer(config: OptimizerConfig, groups: Sequence[ParameterGroup]) -> torch.optim.Optimizer:
    """The optimiser of a config over groups; a group without a weight decay has the config's."""
    own = [
        {
            "params": list(group.parameters),
            "lr": config.lr * group.rate,
            "weight_decay": config.weight_decay if group.weight_decay is None else group.weight_decay,
        }
        for group in groups
    ]
    match config:
        case SGDConfig():
            return torch.optim.SGD(own, momentum=config.momentum)
        case AdamConfig():
            return torch.optim.Adam(own)
        case AdamWConfig():
            return torch.optim.AdamW(own)
        case _:
            assert_never(config)


def learning_rate_factor(schedule: ScheduleConfig, iteration: int, total: int) -> float:
    """Factor on the base learning rate at `iteration` (from 0) of `total`."""
    match schedule:
        case ConstantSchedule():
            return 1.0
        case StepSchedule():
            return float(schedule.decay_rate ** (iteration // schedule.decay_steps))
        case CosineSchedule():
            warm = schedule.warmup * total
            if iteration < warm:
                return (iteration + 1) / (warm + 1)
            progress = min(1.0, (iteration - warm) / max(1.0, total - warm))
            return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))
        case MilestoneSchedule():
            return next((factor for start, factor in reversed(schedule.milestones) if iteration >= start), 1.0)
        case _:
            assert_never(schedule)


def _unset(value: float | None) -> bool:
    return value is None


class TrainingConfig(Config):
    """How long, on what and by which steps a trial trains."""

    epochs: Annotated[int, EPOCHS] = Field(default=24, ge=1)
    batch_size: int = Field(default=32, ge=2)
    optimizer: Annotated[OptimizerConfig, LIVE] = AdamWConfig()
    schedule: Annotated[ScheduleConfig, LIVE] = CosineSchedule()
    # left out of the text when unset, so that configs and studies of before keep their digests
    clip_norm: Annotated[float | None, LIVE] = Field(
        default=None, gt=0, exclude_if=_unset, description="largest norm of an optimiser's gradient"
    )
    amp: bool = Field(default=True, description="mixed precision on CUDA; the CPU always computes in float32")
    device: str = "auto"


class RecipeBase(Config):
    """Base of a recipe's config that can say whose labels it learns from."""

    def supervision(self, output: str) -> str:
        """Whose labels reached an output's model by another way than the pack: for model cards, empty for nobody's."""
        return ""


class RecipeConfig(RecipeBase):
    """Base of a recipe's config that `ssl_core.training.session.trained` trains."""

    training: TrainingConfig = TrainingConfig()


def supervision_of_outputs(config: Config, outputs: Iterable[str]) -> str:
    """Whose labels reached any of these outputs' models; empty for nobody's, and where the config does not say."""
    found = [config.supervision(output) for output in outputs] if isinstance(config, RecipeBase) else []
    return " and ".join(dict.fromkeys(filter(None, found)))
