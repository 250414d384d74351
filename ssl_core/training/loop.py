"""The one visible training loop. On a GPU, the next batch is made and sent while the step on the present one runs.

One background thread, one batch ahead. Batches come in the order in which they were made and hold the same numbers with
and without it, as long as what makes them draws from generators of its own.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor

from ssl_core.errors import DivergedError
from ssl_core.training.config import SteppedGroups
from ssl_core.training.contract import Batch, LossTerms, Trial

T = TypeVar("T")
_END = object()


@dataclass
class Training:
    """What moves while a trial trains."""

    trial: Trial
    optimizers: Mapping[str, SteppedGroups]  # by name; the names of the trial's losses
    scaler: torch.amp.GradScaler
    factor: Callable[[int], float]  # on every learning rate, of an iteration
    device: torch.device
    amp: bool
    iteration: int = 0


def train_epoch(training: Training, batches: Iterable[Batch]) -> dict[str, float]:
    """Run one epoch and return its metrics: the mean of each loss term over the batches that have it, rate, samples/s,
    seconds waiting for data.

    `train/data_wait_share` is the share of the epoch's time for which no batch was there to train on. Several losses
    are `train/<optimiser>_loss`; all are taken at the same weights, before any optimiser steps. An epoch without any
    batch (of a trial that is solved, not trained) has none of these.

    Raises DivergedError: a loss is not finite; no optimiser has stepped on it.
    """
    trial = training.trial
    trial.module.train()
    totals, counts = defaultdict[str, float](float), defaultdict[str, int](int)
    samples, waited, began = 0, 0.0, time.perf_counter()
    for batch, seconds in _timed(batches):
        waited += seconds
        factor = training.factor(training.iteration)
        for optimizer in training.optimizers.values():
            lr = optimizer.set_rate(factor)
        with torch.autocast(training.device.type, enabled=training.amp):
            losses = trial.losses(batch)
        for name, value in _step(training, losses, lr).items():
            totals[name] += float(value.detach())
            counts[name] += 1
        training.iteration += 1
        samples += trial.samples(batch)
    if not counts:
        return {}
    elapsed = time.perf_counter() - began
    return {
        **{f"train/{name}": total / counts[name] for name, total in totals.items()},
        "train/lr": lr,
        "train/samples_per_second": samples / elapsed,
        "train/data_wait_seconds": waited,
        "train/data_wait_share": waited / elapsed,
    }


def _step(training: Training, losses: Mapping[str, LossTerms], lr: float) -> dict[str, Tensor]:
    """Step every optimiser on its own loss; all terms by name."""
    for loss in losses.values():
        if not torch.isfinite(loss.total):
            raise DivergedError(_diagnosis(training.iteration, lr, loss.terms))
    for optimizer in training.optimizers.values():
        optimizer.optimizer.zero_grad(set_to_none=True)
    several, told = len(training.optimizers) > 1, dict[str, Tensor]()
    for left, (name, loss) in zip(reversed(range(len(losses))), losses.items(), strict=True):
        # a loss that passes through another optimiser's parameters leaves no gradient there
        inputs = training.optimizers[name].trained
        training.scaler.scale(loss.total).backward(inputs=inputs, retain_graph=left > 0)
        told |= {f"{name}_loss" if several else "loss": loss.total, **loss.terms}
    for name in losses:
        training.optimizers[name].step(training.scaler)
    training.scaler.update()
    return told


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


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches of CPU tensors -> the same on the device.

    On CUDA, a batch is made in the background, pinned, and copied on a stream of its own while the step before it runs.
    Elsewhere it is made when it is asked for: a trial on the CPU has one core, and nothing runs beside it.

    Raises what making a batch raises, after the batches before it were given.
    """
    if device.type != "cuda":
        yield from ({name: tensor.to(device) for name, tensor in batch.items()} for batch in batches)
        return
    copies = _CudaCopies(device)
    for sent, arrived in one_ahead(copies.send(batch) for batch in batches):
        copies.receive(sent, arrived)
        yield sent


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items in their order; while one is used, the next is made in a background thread.

    The thread ends, and a generator given as `items` is closed, when the items do, when making one raises (raised
    here, after the items before it), and when the caller stops early.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            coming = thread.submit(next, iterator, _END)
            while (item := coming.result()) is not _END:
                coming = thread.submit(next, iterator, _END)
                yield cast(T, item)
        finally:
            if hasattr(iterator, "close"):
                thread.submit(iterator.close).result()


class _CudaCopies:
    """Copies from pinned memory on a side stream."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def send(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """Start the copies; the event says when they are there. Pinned memory is kept by torch until then."""
        arrived = torch.cuda.Event()
        with torch.cuda.stream(self.stream):
            sent = {name: tensor.pin_memory().to(self.device, non_blocking=True) for name, tensor in batch.items()}
            arrived.record(self.stream)
        return sent, arrived

    def receive(self, sent: Batch, arrived: torch.cuda.Event) -> None:
        """What the present stream does next waits for the copies; no thread does."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(arrived)
        for tensor in sent.values():
            tensor.record_stream(stream)  # else its memory could be given away while the step still reads it
