"""From probe and simulated studies to what a person decides by: time, GPU-hours, disk, memory, and what to change."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import AliasChoices, ConfigDict, Field

from search_spaces.parameter import edges
from search_spaces.space import SearchSpace
from ssl_core.config import Config
from ssl_core.errors import ConfigError
from study.forecast.pilot import Pilot
from study.forecast.resources import Capacity
from study.forecast.simulations import Outlook, forecasts
from study.run.driver import StudyPlan
from study.run.trial_opener import TrialOpener
from study.spec.home import home
from study.spec.study_spec import StudySpec
from study.workers.gpu_share import MeasuredNeeds, measured_share

LIKELY = (0.1, 0.5, 0.9)
"""Quantiles of a range: eight of ten studies should lie between its ends."""

_DISK_COPIES = 3
"""Of a running trial: the newest checkpoint, the best one, and the one being written."""


class Range(Config):
    """A prediction: its middle, and between which ends eight of ten should lie."""

    low: float
    middle: float
    high: float


class Prediction(Config):
    """What a study is expected to take."""

    study: str  # its name
    slots: int  # trials at a time; `gpus_per_slot` each
    gpus_per_slot: float
    hours: Range  # wall time of the study, without the evaluation of its best encoders at the end
    gpu_hours: Range  # held by its slots
    trials: Range  # that it will run
    epochs: Range  # that it will train, all trials together
    epoch_seconds: Range  # mean of its epochs, at full slots
    trial_overhead_seconds: float  # of a trial beside its epochs
    disk_bytes: float  # needed at most: checkpoints while it runs, and what MLflow keeps of the best trials
    memory_bytes: float  # of the machine, for each trial: most that a probed process held
    gpu_memory_bytes: float  # of the GPU, for each trial: most that a probed one held; 0 on the CPU
    bounded: bool  # whether the budget ends every study; else all of the above is what it takes at least
    advice: tuple[str, ...] = ()  # what a person should know before starting, one sentence each
    # what it is based on; scripts read it as `probe`
    pilot: Pilot = Field(validation_alias=AliasChoices("pilot", "probe"), serialization_alias="probe")

    model_config = ConfigDict(serialize_by_alias=True)


def predict(plan: StudyPlan, pilot: Pilot, room: Capacity) -> Prediction:
    """What the study will take, by its probe."""
    outlooks = forecasts(plan.space, plan.spec, pilot, room, plan.check)
    measured = pilot.configurations
    checkpoint = max(one.checkpoint_bytes for one in measured)
    # the best of top_k trials: here, and once more in MLflow's artifact store
    disk = checkpoint * (_DISK_COPIES * room.slots + 2 * plan.spec.top_k)
    prediction = Prediction(
        study=plan.name,
        slots=room.slots,
        gpus_per_slot=room.gpus_per_slot,
        hours=_range(outlooks, lambda one: one.seconds / 3600),
        gpu_hours=_range(outlooks, lambda one: one.slot_seconds * room.gpus_per_slot / 3600),
        trials=_range(outlooks, lambda one: one.trials),
        epochs=_range(outlooks, lambda one: one.epochs),
        epoch_seconds=_range(outlooks, lambda one: one.mean_epoch_seconds),
        trial_overhead_seconds=pilot.trial_overhead,
        disk_bytes=disk,
        memory_bytes=max(one.resident_bytes for one in measured),
        gpu_memory_bytes=max(one.peak_bytes for one in measured),
        bounded=all(one.ended for one in outlooks),
        pilot=pilot,
    )
    return prediction.model_copy(update={"advice": tuple(advice(prediction, plan.spec, room))})


def advice(prediction: Prediction, spec: StudySpec, room: Capacity, place: Path | None = None) -> list[str]:
    """What does not fit, and what would fit better. `place`: whose disk is meant; default the home folder."""
    found = []
    if not prediction.bounded:
        found.append("nothing bounds this study but a target or patience; set trials, hours, epochs or gpu_hours")
    if room.memory_bytes and room.slots * prediction.memory_bytes > 0.9 * room.memory_bytes:
        fit = max(1, int(0.9 * room.memory_bytes // prediction.memory_bytes))
        found.append(
            f"{room.slots} trials at a time need {_gb(room.slots * prediction.memory_bytes)} of memory and the machine "
            f"has {_gb(room.memory_bytes)}; use --concurrency {fit}"
        )
    free = shutil.disk_usage(place or _existing(home())).free
    if prediction.disk_bytes > 0.9 * free:
        found.append(f"checkpoints need {_gb(prediction.disk_bytes)} of disk and {_gb(free)} are free; free some")
    found += _gpu_advice(prediction, spec, room)
    for reason in dict.fromkeys(prediction.pilot.failed):
        found.append(f"a probed configuration failed: {reason}")
    if any(one.trained < 2 for one in prediction.pilot.configurations):
        found.append("some probed configurations trained one epoch only, warm-up included; raise --probe-minutes")
    return found


def _gpu_advice(prediction: Prediction, spec: StudySpec, room: Capacity) -> list[str]:
    devices = [one.device_bytes for one in prediction.pilot.configurations if one.device_bytes]
    if not devices or room.gpus_per_slot == 0:
        return []
    measured = MeasuredNeeds(prediction.gpu_memory_bytes, min(devices))
    share = measured_share(measured, room.cpus, room.gpus, spec.cpus_per_trial)
    if share < room.gpus_per_slot - 1e-3:
        fit = round(1 / share)
        return [f"{fit} trials fit on a GPU; set gpus_per_trial: {share:.4g} (or auto) in the space's study section"]
    if share > room.gpus_per_slot + 1e-3 and spec.gpus_per_trial != "auto":
        return [
            f"a trial holds up to {_gb(measured.peak_bytes)} of a GPU with {_gb(measured.device_bytes)}; "
            f"raise gpus_per_trial to {share:.4g}"
        ]
    return []


def _range(outlooks: Sequence[Outlook], of: Callable[[Outlook], float]) -> Range:
    low, middle, high = np.quantile([of(one) for one in outlooks], LIKELY)
    return Range(low=float(low), middle=float(middle), high=float(high))


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def _gb(value: float) -> str:
    return f"{value / 1e9:.3g} GB"


def stage_forecast(space: SearchSpace, opener: TrialOpener) -> dict[str, str]:
    """Which stages trials share and whether they are made, in a few words each.

    What the space may set is tried one key at a time on top of the base.
    """
    single = [
        values for parameter in space.parameters for value in edges(parameter.domain)
        for values in space.alone(parameter, value)
    ]  # fmt: skip
    places: dict[str, set[Path]] = {}
    for values in [*space.presets(), *single]:
        if not opener.recipe_of(values).stages:
            continue
        try:
            found = opener.stage_folders(values)
        except ConfigError:
            continue  # wrong alone, perhaps right with the values that go with it
        for stage, folder in found.items():
            named = f"{space.recipes.chosen(values)}.{stage}" if space.recipes.chooses else stage
            places.setdefault(named, set()).add(folder)
    return {stage: _words(sum(place.is_dir() for place in each), len(each)) for stage, each in places.items()}


def _words(made: int, settings: int) -> str:
    if settings > 1:
        return f"depends on searched keys; {made} of {settings} settings made already, each other will be made once"
    return "made already" if made else "will be made once, by the first trial that needs it"
