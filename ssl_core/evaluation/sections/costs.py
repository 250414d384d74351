"""What a model costs whoever uses it: weights, time per object, memory while it runs.

Times are medians with their interval, on one thread, so that they compare between machines' sizes; other work on the
machine is in them. Memory is that of the tensors of one forward, input included, weights not: counted, not sampled, so
it is the same every time. Scratch space inside a single operation is not seen.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field
from scipy import stats
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_core.config import Config
from ssl_core.evaluation.report import Table
from ssl_core.evaluation.task_contract import Found, Section, Subject
from ssl_core.models.cards import Card
from ssl_core.models.modes import device_of, evaluating, forward_seconds, threads

BATCHES = (1, 32)
_FEWEST, _MOST = 6, 30
"""Repeats; the range of six values holds the median with 97 % confidence."""


class CostSettings(Config):
    """Time per object, memory and size, on the device the evaluation runs on, with one thread."""

    batches: tuple[int, ...] = Field(default=BATCHES, min_length=1)
    seconds: float = Field(default=1.0, gt=0.0, description="about how long each batch size is repeated")


class Latency(Config):
    """Milliseconds per input at one batch size: median over forwards, and a distribution-free interval of it."""

    batch: int
    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    confidence: float = 0.95


class ModelCosts(Config):
    """All costs of one model."""

    parameters: int
    weight_bytes: int
    """parameters and buffers, as they are stored"""
    latencies: tuple[Latency, ...]
    peak_bytes: int
    """most bytes of tensors alive in one forward of `peak_batch` inputs, without the weights"""
    peak_batch: int
    threads: int = Field(ge=1)
    device: str


def model_costs(model: nn.Module, card: Card, *, batches: Sequence[int] = BATCHES, seconds: float = 3.0) -> ModelCosts:
    """Measure a model on the device it is on, by examples of its card; its mode and weights are left as they are.

    Each batch size is repeated for about `seconds`, at least six times; the largest also tells the memory.
    """
    device = device_of(model)
    stored = [*model.parameters(), *model.buffers()]
    with threads(1), evaluating(model):
        latencies = tuple(_latency(model, card.example(batch).to(device), seconds) for batch in batches)
        inputs = card.example(max(batches)).to(device)
        with _Held() as held:
            model(inputs)
    return ModelCosts(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in stored),
        latencies=latencies,
        peak_bytes=int(held.peak + inputs.untyped_storage().nbytes()),
        peak_batch=max(batches),
        threads=1,
        device=device.type,
    )


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Median and interval of the median from order statistics: the number of values below it is Binomial(n, 1/2)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    below = max(1, int(stats.binom.ppf((1 - confidence) / 2, len(ordered), 0.5)))
    return float(np.median(ordered)), float(ordered[below - 1]), float(ordered[len(ordered) - below])


def _latency(model: nn.Module, inputs: Tensor, seconds: float) -> Latency:
    batch, spent = len(inputs), forward_seconds(model, inputs, fewest=_FEWEST, most=_MOST, enough=seconds)
    median, low, high = (1e3 * value / batch for value in median_interval(spent))
    return Latency(batch=batch, median_ms=median, low_ms=low, high_ms=high, repeats=len(spent))


class _Held(TorchDispatchMode):
    """Counts the bytes of storages that operations made inside, as long as a tensor refers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self._now, self._references = 0, 0, dict[int, int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            # views of weights and of the input are nobody's memory
            if isinstance(leaf, Tensor) and (_storage(leaf) in self._references or _storage(leaf) not in given):
                self._hold(leaf)
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage, size = _storage(tensor), tensor.untyped_storage().nbytes()
        if storage not in self._references:
            self._references[storage] = 0
            self._now += size
            self.peak = max(self.peak, self._now)
        self._references[storage] += 1
        weakref.finalize(tensor, self._release, storage, size)

    def _release(self, storage: int, size: int) -> None:
        self._references[storage] -= 1
        if self._references[storage] == 0:
            del self._references[storage]
            self._now -= size


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _measure(subject: Subject, settings: CostSettings, found: Found) -> ModelCosts:
    return model_costs(subject.encoder, subject.card, batches=settings.batches, seconds=settings.seconds)


def _table(costs: ModelCosts) -> Table:
    cells = [
        [f"time per object, batch {each.batch}", f"{each.median_ms:.3g} ms ({each.low_ms:.3g} to {each.high_ms:.3g})"]
        for each in costs.latencies
    ]
    cells += [
        ["parameters", f"{costs.parameters:,}"],
        ["weights", f"{costs.weight_bytes / 2**20:.1f} MiB"],
        [f"memory, batch {costs.peak_batch}", f"{costs.peak_bytes / 2**20:.1f} MiB"],
    ]
    return f"Costs ({costs.device}, {costs.threads} thread)", ["", ""], cells


def _metrics(costs: ModelCosts) -> dict[str, float]:
    return {
        **{f"costs/ms_batch_{each.batch}": each.median_ms for each in costs.latencies},
        "costs/parameters": float(costs.parameters),
        "costs/weight_bytes": float(costs.weight_bytes),
        "costs/peak_bytes": float(costs.peak_bytes),
    }


COSTS = Section("costs", lambda settings: 20 * len(settings.batches), _measure, _table, _metrics)
