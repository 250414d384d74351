"""What a study would find to run on, before Ray is started for it."""

import math
import os
import sys
from dataclasses import dataclass

from study.cluster.cluster import Resources, ray_cluster, slots, trial_resources
from study.spec.study_spec import StudySpec


@dataclass(frozen=True)
class Capacity:
    """Where trials would run."""

    slots: int  # trials at a time
    cpus: float  # of all machines
    gpus: float  # of all machines
    gpus_per_slot: float  # that each trial holds
    memory_bytes: float | None = None  # of this machine, if trials run here; None on a cluster


def study_room(spec: StudySpec) -> Capacity:
    """Ask the cluster that `RAY_ADDRESS` names, or count what this machine has.

    Raises:
        StudyError: a trial asks for more than there is, or no cluster answers.
    """
    least = (spec.concurrency or 1) * spec.cpus_per_trial
    if os.environ.get("RAY_ADDRESS") or _ray_runs_here():
        with ray_cluster(least) as offered:
            return _room(spec, offered, None)
    cpus, gpus = float(max(len(os.sched_getaffinity(0)), math.ceil(least))), _local_gpus()
    return _room(spec, Resources(cpus, gpus, cpus, gpus), _memory())


def _room(spec: StudySpec, offered: Resources, memory: float | None) -> Capacity:
    per_trial = trial_resources(spec, offered)
    return Capacity(slots(spec, per_trial, offered), offered.cpus, offered.gpus, per_trial["GPU"], memory)


def _ray_runs_here() -> bool:
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _local_gpus() -> float:
    import torch

    return float(torch.cuda.device_count())


def _memory() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return None
