"""The one visible training loop."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_core.errors import DivergedError
from ssl_core.recipe import Batch, Objective


@dataclass
class Training:
    """What moves while a trial trains. `rate` gives the learning rate of an iteration."""

    objective: Objective
    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rate: Callable[[int], float]
    device: torch.device
    amp: bool
    iteration: int = 0


def train_epoch(training: Training, batches: Iterable[Batch]) -> dict[str, float]:
    """Run one epoch and return its metrics: the mean of each loss term, rate, samples/s, seconds waiting for data.

    `train/data_wait_share` is the share of the epoch's time for which no batch was there to train on.

    Raises:
        DivergedError: the loss is not finite; the optimiser has not stepped on it.
    """
    training.module.train()
    totals: dict[str, float] = defaultdict(float)
    samples, count, waited, began = 0, 0, 0.0, time.perf_counter()
    for batch, seconds in _timed(batches):
        waited += seconds
        lr = training.rate(training.iteration)
        for group in training.optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(training.device.type, enabled=training.amp):
            loss = training.objective.loss(batch)
        if not torch.isfinite(loss.total):
            raise DivergedError(_diagnosis(training.iteration, lr, loss.terms))
        training.optimizer.zero_grad(set_to_none=True)
        training.scaler.scale(loss.total).backward()
        training.scaler.step(training.optimizer)
        training.scaler.update()
        training.iteration += 1
        for name, value in {"loss": loss.total, **loss.terms}.items():
            totals[name] += float(value.detach())
        samples += len(batch["points"])
        count += 1
    elapsed = time.perf_counter() - began
    return {
        **{f"train/{name}": total / count for name, total in totals.items()},
        "train/lr": lr,
        "train/samples_per_second": samples / elapsed,
        "train/data_wait_seconds": waited,
        "train/data_wait_share": waited / elapsed,
    }


def _timed(batches: Iterable[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds it took to arrive."""
    iterator = iter(batches)
    while True:
        began = time.perf_counter()
        batch = next(iterator, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - began


def _diagnosis(iteration: int, lr: float, terms: Mapping[str, Tensor]) -> str:
    values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in terms.items())
    return f"the loss became non-finite at iteration {iteration} with learning rate {lr:.3g} ({values}); lower the rate"
