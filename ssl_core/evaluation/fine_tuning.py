"""Full fine-tuning: the whole encoder and a linear head learn from the labelled objects.

What frozen probes cannot say: whether the pretrained weights are a better place to start from than random ones. The
from-scratch control is the same call with a freshly initialised encoder and `config.from_scratch()`.

Inputs stream (`supervised_data`): a batch is gathered when it is its turn, and no split is ever held whole. Nothing is
tuned on test: the number of epochs is given, and the weights of the last one are scored.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ssl_core.config import Config
from ssl_core.errors import DivergedError
from ssl_core.models.build import seeded_weights
from ssl_core.models.encoder import Encoder
from ssl_core.models.modes import device_of
from ssl_core.training.optim import CosineSchedule, learning_rate_factor


class FineTuningConfig(Config):
    """How encoder and head are trained: AdamW, linear warm-up, then half a cosine down to zero."""

    epochs: int = Field(default=30, ge=1, le=10_000)
    lr: float = Field(default=3e-4, gt=0, description="of the encoder")
    head_lr: float = Field(default=1e-3, gt=0, description="of the head, which starts from random weights")
    batch_size: int = Field(default=32, ge=2)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    crop_min_scale: float = Field(default=0.5, gt=0, le=1, description="smallest share of a training view")
    test_draws: int = Field(default=3, ge=1, description="point draws of a test object; their logits are averaged")
    test_views: int = Field(default=8, ge=1, description="views of a test object; their logits are averaged")

    def from_scratch(self) -> "FineTuningConfig":
        """The control's: random weights have nothing to lose, so the encoder learns at the head's rate."""
        return self.model_copy(update={"lr": max(self.lr, self.head_lr)})


class SupervisedData(Protocol):
    """Labelled inputs for one encoder's contract."""

    steps: int
    """batches of an epoch"""

    def train_batches(self, epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs [B, ...] and labels [B] int64: every labelled object once, in an order and with inputs drawn anew for
        each epoch, the same whenever that epoch is asked for."""
        ...

    def test_batches(self) -> Iterable[Tensor]:
        """Inputs [b, R, ...]: R draws or views of each test object, in the order of the test objects."""
        ...


@dataclass(frozen=True)
class Epoch:
    """Means over the training inputs of an epoch, as they were met."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class FineTuned:
    """predictions [m] int64 classes of the test objects; the training epoch by epoch."""

    predictions: NDArray[np.int64]
    curve: tuple[Epoch, ...]


def fine_tune(encoder: Encoder, classes: int, data: SupervisedData, config: FineTuningConfig, seed: int) -> FineTuned:
    """Train a copy of `encoder` with a new head, then classify the test objects.

    Args:
        encoder: on the device to train on; left as it is.
        classes: labels are 0 to classes - 1.
        data: for the encoder's contract.
        config: the training.
        seed: of the head's first weights; what is drawn for the batches is the data's.

    Raises:
        DivergedError: the loss became non-finite; no step was made with it.
    """
    device = device_of(encoder)
    with seeded_weights(seed):
        head = nn.Linear(encoder.feature_dim, classes)
    # without weights of its own (He et al. 2022, MAE, A.1): one rate of the head then suits features of any size
    norm = nn.BatchNorm1d(encoder.feature_dim, affine=False)
    model = nn.Sequential(copy.deepcopy(encoder), norm, head).to(device).requires_grad_()
    optimizer = torch.optim.AdamW(
        [{"params": model[0].parameters(), "lr": config.lr}, {"params": head.parameters(), "lr": config.head_lr}],
        weight_decay=config.weight_decay,
    )
    schedule = CosineSchedule(warmup=config.warmup, final=0.0)
    steps = config.epochs * data.steps
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(schedule, step, steps))
    curve = tuple(_epoch(model, optimizer, rates, data.train_batches(epoch), config) for epoch in range(config.epochs))
    return FineTuned(_predictions(model, data), curve)


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[tuple[Tensor, Tensor]],
    config: FineTuningConfig,
) -> Epoch:
    """One pass over the labelled objects."""
    device = device_of(model)
    model.train()
    total, right, seen = 0.0, 0, 0
    for inputs, labels in batches:
        labels = labels.to(device)
        logits = model(inputs.to(device))
        loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        if not torch.isfinite(loss):
            raise DivergedError(f"fine-tuning: the loss became non-finite; lower lr ({config.lr:g})")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rates.step()
        total += float(loss.detach()) * len(labels)
        right += int((logits.detach().argmax(dim=1) == labels).sum())
        seen += len(labels)
    return Epoch(total / seen, right / seen)


def _predictions(model: nn.Module, data: SupervisedData) -> NDArray[np.int64]:
    """[m] classes with the largest mean logit over draws or views."""
    device = device_of(model)
    model.eval()
    found = []
    with torch.inference_mode():
        for inputs in data.test_batches():
            logits = model(inputs.flatten(0, 1).to(device)).unflatten(0, inputs.shape[:2]).mean(dim=1)
            found.append(logits.argmax(dim=1).cpu().numpy())
    return np.concatenate(found).astype(np.int64)
