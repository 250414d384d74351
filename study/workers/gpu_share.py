"""How many trials share a GPU: as many as their measured memory and the machine's CPUs allow.

A trial's memory on a GPU is what torch's allocator reserved at its peak (`cost/peak_memory_bytes`) and the CUDA
context of its process. Ray only counts shares: nothing stops a trial from taking more, so there is a margin, and a
trial that runs out of memory all the same is started again with twice the share (`StudySpec.on_oom`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssl_core.training.contract import DEVICE_MEMORY, PEAK_MEMORY
from study.record.metrics_file import read_metrics

CONTEXT_BYTES = 700 * 2**20
"""Of a CUDA context with torch's and cuDNN's kernels loaded; 400 to 650 MiB on recent cards."""

MARGIN = 1.2
"""Configurations to come may need more than those measured, and allocators fragment."""

MOST = 64
"""Trials on a GPU: more only take turns."""


@dataclass(frozen=True)
class MeasuredNeeds:
    """What trials were found to need."""

    peak_bytes: float  # most that one of them reserved
    device_bytes: float  # memory of the GPU, of the smallest one


def trials_per_gpu(measured: MeasuredNeeds, most: int | None = None) -> int:
    """Trials that fit on one GPU at a time, at least one and at most `most`."""
    fits = math.floor(measured.device_bytes / (MARGIN * (measured.peak_bytes + CONTEXT_BYTES)))
    return max(1, fits if most is None else min(fits, most))


def trials_by_cpus(cpus: float, gpus: float, cpus_per_trial: float) -> int:
    """Trials on each GPU that the CPUs can serve, at least one: more would only wait for data."""
    return max(1, math.floor(cpus / cpus_per_trial / max(1.0, gpus) + 1e-9))


def measured_share(measured: MeasuredNeeds | None, cpus: float, gpus: float, cpus_per_trial: float) -> float:
    """The part of a GPU for each of k trials; a whole one before anything was measured, 0 without GPUs.

    It is 1/k, rounded down to the ten-thousandths that Ray counts in: rounded up, one trial less would fit.
    """
    if gpus < 1:
        return 0.0
    if measured is None:
        return 1.0
    count = trials_per_gpu(measured, min(MOST, trials_by_cpus(cpus, gpus, cpus_per_trial)))
    return math.floor(10_000 / count) / 10_000


def measured_needs(folder: Path, numbers: Iterable[int]) -> MeasuredNeeds | None:
    """What the trials of a study in `folder` reported so far; None before one did, or when none ran on a GPU."""
    found = [read_metrics(folder, number) for number in numbers]
    peaks = [value for curves in found for value in curves.get(PEAK_MEMORY, {}).values() if DEVICE_MEMORY in curves]
    devices = [value for curves in found for value in curves.get(DEVICE_MEMORY, {}).values()]
    return MeasuredNeeds(max(peaks), min(devices)) if peaks and devices else None
