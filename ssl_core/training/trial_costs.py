"""What a trial's models cost: parameters, memory while training, and the time of one input through what it exports.

    cost/parameters           that are trained, of the whole module: what is exported and heads
    cost/peak_memory_bytes    most memory held at a time since the trial began
    cost/device_memory_bytes  all memory of the GPU it ran on; absent on the CPU
    cost/NAME_latency_ms      one input through the model of output NAME, as registered: float32, eval mode, batch 1
    cost/latency_ms           the sum over the outputs

Measuring draws no random numbers from global generators and changes no model, so a trial is the same with and without.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ssl_core.models.cards import Card
from ssl_core.models.modes import evaluating, forward_seconds
from ssl_core.training.contract import DEVICE_MEMORY, LATENCY, PARAMETERS, PEAK_MEMORY

Models = Mapping[str, tuple[nn.Module, Card]]
"""What a trial exports, by output."""


class PeakMemory:
    """Most memory held at a time since this was made, in bytes.

    On CUDA, what torch's allocator reserved on the device: its free blocks count, as no other process can have them;
    the CUDA context (some hundred MiB a process) does not. Made anew, the allocator first gives back what an earlier
    trial of the process left.

    On the CPU, the resident set of the whole process: interpreter, libraries and the pages of the mapped pack, which
    processes share, are in it. Linux forgets an earlier peak of the process when asked. Where it cannot be asked, an
    earlier trial's higher peak hides this one's, and the resident sets found by `bytes` are all there is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._most, self._before = device, 0, 0
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to the present size
        except OSError:
            self._before = _resident()[1]

    def bytes(self) -> int:
        """The peak until now."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        now, mark = _resident()
        self._most = max(self._most, mark if mark > self._before else now)
        return self._most


def _resident() -> tuple[int, int]:
    """(present, highest) resident set of this process in bytes; zeros where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {key: value for key, _, value in (line.partition(":") for line in lines)}
    present, highest = (int(values.get(key, "0 kB").split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return present, highest


def measured_costs(known: Mapping[str, float], module: nn.Module, models: Models, peak: PeakMemory) -> dict[str, float]:
    """All costs of a trial after an epoch: of `module`, all that is trained, and of the models registered of it.

    `known` are metrics of the epoch before, of an earlier process too: latencies are measured once a trial, and a peak
    never falls. `peak` was made when the trial began in this process.
    """
    costs = {name: value for name, value in known.items() if name.startswith("cost/")}
    if LATENCY not in costs:
        costs.update(latencies(models, peak.device))
    costs[PARAMETERS] = float(trained_parameters(module))
    costs[PEAK_MEMORY] = max(costs.get(PEAK_MEMORY, 0.0), float(peak.bytes()))
    if peak.device.type == "cuda":
        costs[DEVICE_MEMORY] = float(torch.cuda.get_device_properties(peak.device).total_memory)
    return costs


def trained_parameters(module: nn.Module) -> int:
    """Numbers that the optimiser changes."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def latencies(models: Models, device: torch.device) -> dict[str, float]:
    """Milliseconds of one input through each model, and their sum, by metric name.

    The median of a few forwards, about 0.1 s in all for small models. Other work on the machine is in it.
    """
    found = {f"cost/{name}_latency_ms": _latency_ms(model, card, device) for name, (model, card) in models.items()}
    return {**found, LATENCY: sum(found.values())}


def _latency_ms(model: nn.Module, card: Card, device: torch.device) -> float:
    example = card.example(1).to(device)
    cuda = [device] if device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices=cuda):
        return 1e3 * statistics.median(forward_seconds(model, example, fewest=3, most=15, enough=0.03))
