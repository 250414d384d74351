"""Full fine-tuning with its control: encoder and a linear head learn from the labelled objects, from the encoder's
weights and from random ones.

What frozen probes cannot say: whether the pretrained weights are a better place to start from than random ones. Inputs
stream (`supervised_data`): a batch is gathered when it is its turn, and no split is ever held whole. Nothing is tuned
on test: the number of epochs is given, and the weights of the last one are scored.

Label draws and seeds are crossed; a seed decides the head, the order of the objects and, of the control, all weights.
The draws are those of the probes, so a row can be read beside the linear SVM of the same labels.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ssl_core.config import Config
from ssl_core.errors import DivergedError
from ssl_core.evaluation.probe_grid import labelled
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.statistics import Interval, paired_intervals
from ssl_core.evaluation.supervised_data import SupervisedConfig, SupervisedData, supervised_data
from ssl_core.evaluation.task_contract import Found, Section, Subject, plain
from ssl_core.models.build import seeded_weights
from ssl_core.models.modes import device_of
from ssl_core.training.config import CosineSchedule, learning_rate_factor

_STEPS = 50
"""of `EvaluationProgress`, for one training"""


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


class FineTuningSettings(Config):
    """The whole encoder and a linear head trained with labels, beside the same from random weights."""

    label_settings: tuple[LabelSetting, ...] = Field(
        default=(LabelSetting(per_class=5, draws=3), LabelSetting()), min_length=1
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="of training, per label draw")
    training: FineTuningConfig = FineTuningConfig()
    min_steps: int = Field(default=300, ge=1, description="with few labels: more epochs, until there are so many steps")


class FineTuningRow(Config):
    """The whole encoder trained with labels, from its own weights and from random ones, test accuracies."""

    labels: str
    runs: int
    """trainings behind each mean: label draws times seeds"""
    epochs: int
    accuracy: Interval
    scratch: Interval
    gain: Interval
    """fine-tuned minus from scratch, over the same labels and seeds"""
    over: Literal["label draws", "seeds", "test objects"]


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


def fine_tune(
    encoder: nn.Module, shape: tuple[int, int], data: SupervisedData, config: FineTuningConfig, seed: int
) -> FineTuned:
    """Train a copy of `encoder` with a new head, then classify the test objects.

    Args:
        encoder: on the device to train on; left as it is.
        shape: (features, classes); labels are 0 to classes - 1.
        seed: of the head's first weights; what is drawn for the batches is the data's.

    Raises DivergedError when the loss becomes non-finite; no step is made with it.
    """
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


def _measure(subject: Subject, settings: FineTuningSettings, found: Found) -> tuple[FineTuningRow, ...]:
    return tuple(_row(subject, settings, setting) for setting in settings.label_settings)


def _row(subject: Subject, settings: FineTuningSettings, setting: LabelSetting) -> FineTuningRow:
    tuned, scratch = [], []
    for draw in range(setting.draws):
        chosen = labelled(subject.labels, setting, subject.config, draw)
        config = training_of(settings, len(chosen))
        for seed in settings.seeds:
            tuned.append(_correct(subject, subject.encoder, chosen, config, seed))
            fresh = subject.card.build(seed).to(device_of(subject.encoder))
            scratch.append(_correct(subject, fresh, chosen, config.from_scratch(), seed))
    shape = (setting.draws, len(settings.seeds), len(subject.labels.test))
    a, b = np.reshape(tuned, shape), np.reshape(scratch, shape)
    # over draws of labels, else over seeds, else over test objects
    over = "label draws" if len(a) > 1 else "seeds" if a.shape[1] > 1 else "test objects"
    mine, control = (each.reshape(len(each), -1) if len(each) > 1 else each[0] for each in (a, b))
    accuracy, from_scratch, gain = paired_intervals(mine, control, subject.config.confidence)
    return FineTuningRow.model_validate(
        {"labels": setting.name, "runs": len(tuned), "epochs": config.epochs}
        | {"accuracy": accuracy, "scratch": from_scratch, "gain": gain, "over": over}
    )


def training_of(settings: FineTuningSettings, labels: int) -> FineTuningConfig:
    """The training with so many labelled objects: few of them are passed over more often."""
    training = settings.training
    steps = math.ceil(labels / training.batch_size)
    return training.model_copy(update={"epochs": max(training.epochs, math.ceil(settings.min_steps / steps))})


def _correct(
    subject: Subject, encoder: nn.Module, chosen: NDArray[np.int64], config: FineTuningConfig, seed: int
) -> NDArray[np.float64]:
    """[test objects] 1 where the trained encoder was right."""
    data = supervised_data(subject.source, subject.train[chosen], subject.test, config, seed)
    found = fine_tune(encoder, (subject.card.output_shape[0], subject.labels.classes), data, config, seed)
    subject.steps.step(_STEPS)
    right: NDArray[np.float64] = (found.predictions == subject.labels.test).astype(np.float64)
    return right


def _table(rows: tuple[FineTuningRow, ...]) -> Table:
    heads = ["labels", "trainings", "fine-tuned", "from scratch", "gain", "interval over"]
    cells = [
        [
            *(row.labels, str(row.runs)),
            *(row.accuracy.percent(), row.scratch.percent(), row.gain.percent(signed=True)),
            row.over,
        ]
        for row in rows
    ]
    return "Fine-tuning of the whole encoder, %", heads, cells


def _metrics(rows: tuple[FineTuningRow, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        place = f"fine_tuning/{plain(row.labels)}"
        found |= {place: row.accuracy.mean, f"{place}/scratch": row.scratch.mean, f"{place}/gain": row.gain.mean}
    return found


def _steps(settings: FineTuningSettings) -> int:
    return _STEPS * 2 * len(settings.seeds) * sum(setting.draws for setting in settings.label_settings)


FINE_TUNING = Section("fine_tuning", _steps, _measure, _table, _metrics)
