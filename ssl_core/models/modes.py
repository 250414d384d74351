"""How a module is used for a while: to look at what it gives and how long that takes, not to train it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; afterwards every part is in the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


def device_of(module: nn.Module) -> torch.device:
    """Where its first parameter lies."""
    return next(module.parameters()).device


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forward_seconds(module: nn.Module, inputs: Tensor, *, fewest: int, most: int, enough: float) -> list[float]:
    """Seconds of forwards: `fewest` at least, then until they add up to `enough` or there are `most`.

    One more comes before, which pays for what is made once.
    """
    module(inputs)
    spent: list[float] = []
    while len(spent) < fewest or (len(spent) < most and sum(spent) < enough):
        began = _now(inputs.device)
        module(inputs)
        spent.append(_now(inputs.device) - began)
    return spent


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
