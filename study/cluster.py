"""Starting Ray quietly, or joining the cluster that `RAY_ADDRESS` names; and what it has to offer."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ssl_core.errors import MissingDependencyError, StudyError
from study.spec import StudySpec

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
}
"""Set before Ray is imported: no usage report, no second progress table, no snapshots nobody restores."""

_OBJECT_STORE_BYTES = 200 * 2**20
"""Packs are memory-mapped files; only messages travel through Ray's object store."""


@dataclass(frozen=True)
class Resources:
    """What the cluster has, and whether leaving it ends all that we started there."""

    cpus: float
    gpus: float
    ours: bool = True


@contextmanager
def ray_cluster(least_cpus: float = 1.0) -> Iterator[Resources]:
    """Ray for the duration of the block: joined if `RAY_ADDRESS` is set or it runs here already, else started.

    Args:
        least_cpus: a local Ray offers at least this many slots, even on fewer cores: asking for more trials
            at a time than cores is allowed.

    Raises:
        MissingDependencyError: Ray is not installed. StudyError: nobody answers at `RAY_ADDRESS`.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingDependencyError("studies need Ray, which is not installed; run `make setup`") from None
    ours = not ray.is_initialized()
    if ours:
        _connect(least_cpus)
    try:
        offered = ray.cluster_resources()
        yield Resources(float(offered.get("CPU", 0.0)), float(offered.get("GPU", 0.0)), ours)
    finally:
        if ours:
            ray.shutdown()


def _connect(least_cpus: float) -> None:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if address:
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise StudyError(
                    f"no Ray cluster answers at RAY_ADDRESS={address} ({reason}); start one with "
                    "`ray start --head`, or unset RAY_ADDRESS to run on this machine"
                ) from None
            return
        cpus = max(len(os.sched_getaffinity(0)), math.ceil(least_cpus))
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **quiet,
        )


def trial_resources(spec: StudySpec, offered: Resources) -> dict[str, float]:
    """CPUs and GPUs of one trial. Raises StudyError when the cluster cannot hold even one."""
    gpus = spec.gpus_per_trial
    if gpus is None or gpus == "auto":
        gpus = 1.0 if offered.gpus >= 1 else 0.0
    for name, needed, there in (("CPU", spec.cpus_per_trial, offered.cpus), ("GPU", gpus, offered.gpus)):
        if needed > there:
            raise StudyError(
                f"one trial asks for {needed:g} {name}s and the cluster has {there:g}; lower {name.lower()}s_per_trial"
            )
    return {"CPU": spec.cpus_per_trial, "GPU": gpus}


def slots(spec: StudySpec, per_trial: dict[str, float], offered: Resources) -> int:
    """Trials at a time: what fits, or fewer when the spec says so."""
    fits = math.floor(offered.cpus / per_trial["CPU"] + 1e-9)
    if per_trial["GPU"] > 0:
        # a GPU shared by fractions serves floor(1/fraction) trials; fractions never span two
        share = per_trial["GPU"]
        whole = math.floor(offered.gpus / share) if share >= 1 else int(offered.gpus) * math.floor(1 / share + 1e-9)
        fits = min(fits, whole)
    fits = max(1, fits)
    return fits if spec.concurrency is None else min(fits, spec.concurrency)
