"""Optimisers and learning-rate schedules. Schedules count iterations, so a learning rate follows from a step number."""

import math
from collections.abc import Iterable
from typing import Annotated, Literal, assert_never

import torch
from pydantic import Field
from torch import nn

from ssl_core.config import Config


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


def build_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a config over the parameters."""
    match config:
        case SGDConfig():
            return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        case AdamConfig():
            return torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
        case AdamWConfig():
            return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
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
