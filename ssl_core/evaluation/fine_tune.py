"""One training of a whole model with labels, and what its steps cost.

Inputs stream (`supervised_data`): a batch is gathered when it is its turn, and no split is ever held whole. Nothing is
tuned on test: the number of epochs is given, and the weights of the last one are scored.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ssl_core.errors import DivergedError
from ssl_core.evaluation.supervised_data import SupervisedConfig, SupervisedData
from ssl_core.models.build import seeded_weights
from ssl_core.models.modes import device_of
from ssl_core.training.config import CosineSchedule, learning_rate_factor

_WARM, _MEASURED = 1, 3
"""steps of `measured_costs`: the first pays for what is made once"""


class FineTuningConfig(SupervisedConfig):
    """How encoder and head are trained: AdamW, linear warm-up, then half a cosine down to zero."""

    epochs: int = Field(default=30, ge=1, le=10_000)
    lr: float = Field(default=3e-4, gt=0, description="of the encoder")
    head_lr: float = Field(default=1e-3, gt=0, description="of the head, which starts from random weights")
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)

    def from_scratch(self) -> "FineTuningConfig":
        """The control's: random weights have nothing to lose, so the encoder learns at the head's rate."""
        return self.model_copy(update={"lr": max(self.lr, self.head_lr)})


@dataclass(frozen=True)
class Epoch:
    """Means over the training inputs of an epoch, as they were met."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class FineTuned:
    """predictions [m] int64 classes of the test objects; the training epoch by epoch; the encoder as it ended."""

    predictions: NDArray[np.int64]
    curve: tuple[Epoch, ...]
    encoder: nn.Module


@dataclass(frozen=True)
class TrainingCosts:
    """Seconds, of CPU where the model is on one: to train on one labelled object once, to classify all test objects."""

    per_object: float
    test: float


def fine_tune(
    encoder: nn.Module,
    shape: tuple[int, int],
    data: SupervisedData,
    config: FineTuningConfig,
    seed: int,
    epoch_done: Callable[[], None] = lambda: None,
) -> FineTuned:
    """Train a copy of `encoder` with a new head, then classify the test objects.

    Args:
        encoder: on the device to train on; left as it is.
        shape: (features, classes); labels are 0 to classes - 1.
        seed: of the head's first weights; what is drawn for the batches is the data's.
        epoch_done: called after each epoch.

    Raises DivergedError when the loss becomes non-finite; no step is made with it.
    """
    model, optimizer = _prepared(encoder, shape, config, seed)
    schedule = CosineSchedule(warmup=config.warmup, final=0.0)
    steps = config.epochs * data.steps
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(schedule, step, steps))
    curve = []
    for epoch in range(config.epochs):
        curve.append(_epoch(model, optimizer, rates, data.train_batches(epoch), config))
        epoch_done()
    return FineTuned(_predictions(model, data.test_batches()), tuple(curve), model[0])


def measured_costs(
    encoder: nn.Module, shape: tuple[int, int], data: SupervisedData, config: FineTuningConfig, tests: int
) -> TrainingCosts:
    """What training and testing cost here, from a few steps on a copy of `encoder`.

    Args:
        tests: number of test objects of the data.
    """
    model, optimizer = _prepared(encoder, shape, config, seed=0)
    clock = time.process_time if device_of(model).type == "cpu" else time.perf_counter
    model.train()
    batches = chain.from_iterable(data.train_batches(epoch) for epoch in range(_WARM + _MEASURED))
    objects, began = 0, clock()
    for number, (inputs, labels) in enumerate(islice(batches, _WARM + _MEASURED)):
        if number == _WARM:
            objects, began = 0, clock()
        _step(model, optimizer, inputs, labels, config)
        objects += len(labels)
    per_object, began = (clock() - began) / max(1, objects), clock()
    tested = len(_predictions(model, islice(data.test_batches(), 1)))
    return TrainingCosts(per_object, (clock() - began) / tested * tests)


def _prepared(
    encoder: nn.Module, shape: tuple[int, int], config: FineTuningConfig, seed: int
) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    """A copy under a new head, all of it to be trained."""
    device = device_of(encoder)
    with seeded_weights(seed):
        head = nn.Linear(*shape)
    # without weights of its own (He et al. 2022, MAE, A.1): one rate of the head then suits features of any size
    norm = nn.BatchNorm1d(shape[0], affine=False)
    model = nn.Sequential(copy.deepcopy(encoder), norm, head).to(device).requires_grad_()
    optimizer = torch.optim.AdamW(
        [{"params": model[0].parameters(), "lr": config.lr}, {"params": head.parameters(), "lr": config.head_lr}],
        weight_decay=config.weight_decay,
    )
    return model, optimizer


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: torch.optim.lr_scheduler.LRScheduler,
    batches: Iterable[tuple[Tensor, Tensor]],
    config: FineTuningConfig,
) -> Epoch:
    """One pass over the labelled objects."""
    model.train()
    total, right, seen = 0.0, 0, 0
    for inputs, labels in batches:
        loss, correct = _step(model, optimizer, inputs, labels, config)
        rates.step()
        total += loss * len(labels)
        right += correct
        seen += len(labels)
    return Epoch(total / seen, right / seen)


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, config: FineTuningConfig
) -> tuple[float, int]:
    """One batch: its loss, and how many were right before the step."""
    device = device_of(model)
    labels = labels.to(device)
    logits = model(inputs.to(device))
    loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    if not torch.isfinite(loss):
        raise DivergedError(f"fine-tuning: the loss became non-finite; lower lr ({config.lr:g})")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach()), int((logits.detach().argmax(dim=1) == labels).sum())


def _predictions(model: nn.Module, batches: Iterable[Tensor]) -> NDArray[np.int64]:
    """[m] classes with the largest mean logit over draws or views."""
    device = device_of(model)
    model.eval()
    found = []
    with torch.inference_mode():
        for inputs in batches:
            logits = model(inputs.flatten(0, 1).to(device)).unflatten(0, inputs.shape[:2]).mean(dim=1)
            found.append(logits.argmax(dim=1).cpu().numpy())
    return np.concatenate(found).astype(np.int64)
