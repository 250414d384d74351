"""A pilot run: a few configurations that span the space train a few epochs, on the slots that the study will have.

It is a study of its own, in a folder that is removed: the same driver, workers, checkpoints and ledger, without
MLflow. So what trials cost each other, and what they cost beside training, is in what it measures.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console

from search_spaces.space import SearchSpace
from ssl_core.config import Config
from ssl_core.errors import ConfigError, StudyError
from ssl_core.training.cost_names import DEVICE_MEMORY, PEAK_MEMORY
from study.forecast.columns import Columns
from study.forecast.pace import spread_out
from study.forecast.pilot_session import OpenPilot
from study.record.metrics_file import Curves, read_metrics
from study.record.trial_record import TrialRecord
from study.run.driver import StudyPlan, run_study
from study.spec.budget import Hours
from study.spec.home import home
from study.spec.sampler_spec import RandomSearch
from study.spec.scheduler_spec import NoScheduler

POOL = 256
"""Configurations that the probed ones are chosen from."""


class PilotTrial(Config):
    """What one configuration was found to cost.

    Attributes:
        values: of the configuration.
        epoch_seconds: from epoch to epoch, checkpoint and report included; the first epoch is not in it unless it
            is all there is.
        opening_seconds: from the beginning of the trial to its first report, less one such epoch.
        epochs: that the configuration asks for; `trained` ones were run.
        resident_bytes: most memory its process held, earlier trials of the process included.
        peak_bytes: most memory the trial held on its GPU, of which there are `device_bytes`; 0 on the CPU.
        checkpoint_bytes: size of a checkpoint.
    """

    values: dict[str, Any]
    epoch_seconds: float
    opening_seconds: float
    epochs: int
    trained: int
    resident_bytes: float
    peak_bytes: float = 0.0
    device_bytes: float = 0.0
    checkpoint_bytes: float = 0.0


class Pilot(Config):
    """What the pilot run found.

    Attributes:
        configurations: those that trained at least one epoch.
        failed: reasons of those that did not.
        seconds: the whole pilot run.
        start_seconds: from the command to the first trial's beginning, and from the last one's end to the end.
        between_seconds: from the last epoch of a trial to the beginning of the next in its process.
    """

    configurations: tuple[PilotTrial, ...]
    failed: tuple[str, ...] = ()
    seconds: float
    start_seconds: float
    between_seconds: float

    @property
    def trial_overhead(self) -> float:
        """Seconds of a trial beside its epochs, in a process that is warm: the median forgets the first ones."""
        return statistics.median(one.opening_seconds for one in self.configurations) + self.between_seconds


@dataclass(frozen=True)
class PilotSize:
    """How much a pilot run does.

    Attributes:
        configurations: to train; None chooses by the number of parameters that matter and of slots.
        epochs: of each, at least two: the first includes warm-up.
        minutes: after which running trials end at their next epoch.
    """

    configurations: int | None = None
    epochs: int = 3
    minutes: float = 5.0


def run_probe(plan: StudyPlan, size: PilotSize, slots: int, console: Console) -> Pilot:
    """Run the pilot of a study.

    Args:
        plan: of the study; checked.
        size: of the pilot run.
        slots: trials that the study will run at a time.
        console: for progress.

    Raises:
        StudyError: no configuration trained an epoch in time, or each failed; the text says why.
    """
    configurations = chosen(plan, size.configurations or _enough(plan.space, slots))
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=home()) as place:
        folder = Path(place, "probe")
        began = time.time()
        summary = run_study(_probe_plan(plan, folder, configurations, size), None, console)
        if summary.interrupted:
            raise KeyboardInterrupt
        ended = time.time()
        from study.engine.ledger import read_ledger

        return _read(read_ledger(folder).records(), folder, began, ended, size)


def chosen(plan: StudyPlan, count: int) -> list[dict[str, Any]]:
    """The base, and others that tell most about the rest of the space. Fewer when the space has no more."""
    columns, space = Columns(plan.space), plan.space
    base = _base(plan)
    pool = [base] if base is not None else []
    sampler = optuna.samplers.RandomSampler(seed=plan.spec.seed)
    study = optuna.create_study(sampler=sampler)
    for _ in range(POOL):
        values = space.suggest(study.ask())
        if values not in pool and _allowed(plan, values):
            pool.append(values)
    if not pool:
        raise StudyError(f"{space.source}: none of {POOL} configurations drawn from the space is possible; narrow it")
    return [pool[position] for position in spread_out(columns.rows(pool), count, columns.scales)]


def _base(plan: StudyPlan) -> dict[str, Any] | None:
    """The base config's values, if the space holds all of them and they are possible."""
    try:
        values = plan.space.replay(plan.space.base_params())
    except ConfigError:
        return None
    return values if _allowed(plan, values) else None


def _allowed(plan: StudyPlan, values: Mapping[str, Any]) -> bool:
    try:
        plan.space.configure(values)
        if plan.check is not None:
            plan.check(values)
    except ConfigError:
        return False
    return True


def _enough(space: SearchSpace, slots: int) -> int:
    """As many as there are parameters that cost, and full slots for most of the pilot run."""
    return max(min(Columns(space).heavy + 2, 10), min(2 * slots, max(slots, 12)))


def _probe_plan(plan: StudyPlan, folder: Path, configurations: list[dict[str, Any]], size: PilotSize) -> StudyPlan:
    spec = plan.spec.model_copy(
        update={
            "trials": len(configurations),
            "hours": None,
            "budget": Hours(hours=size.minutes / 60),
            "sampler": RandomSearch(),
            "scheduler": NoScheduler(),
            "objectives": (),
            "constraints": (),
            "repeats": 1,
            "enqueue": tuple(configurations),
            "warm_start": (),
            "first_is_base": False,
            "confirm_features": False,
            "max_attempts": 1,
            "on_oom": "infeasible",
        }
    )
    return replace(
        plan,
        name=f"probe-of-{plan.name}",
        folder=folder,
        spec=spec,
        open_session=OpenPilot(plan.open_session, max(2, size.epochs)),
    )


def _read(records: list[TrialRecord], folder: Path, began: float, ended: float, size: PilotSize) -> Pilot:
    curves = {record.number: read_metrics(folder, record.number) for record in records}
    found = [(record, curves[record.number]) for record in records if "probe/trained" in curves[record.number]]
    failed = [record.reason for record in records if record.reason and "probe/trained" not in curves[record.number]]
    if not found:
        why = f"; mostly: {statistics.mode(failed)}" if failed else ""
        raise StudyError(
            f"no configuration trained an epoch within {size.minutes:g} minutes{why}; raise --probe-minutes"
        )
    first = min(_first(own["probe/began"]) for _, own in found)
    last = max(_last(own["probe/trained"]) for _, own in found)
    return Pilot(
        configurations=tuple(_probed(record, own) for record, own in found),
        failed=tuple(failed),
        seconds=ended - began,
        start_seconds=max(0.0, first - began) + max(0.0, ended - last),
        between_seconds=_between([own for _, own in found]),
    )


def _probed(record: TrialRecord, own: Curves) -> PilotTrial:
    ends = list(own["probe/trained"].values())
    began, opened = _first(own["probe/began"]), _first(own["probe/opened"])
    # from end to end: everything that happens once an epoch is in it
    epoch = statistics.median(np.diff(ends)) if len(ends) > 1 else ends[0] - opened
    return PilotTrial(
        values=record.values or {},
        epoch_seconds=max(float(epoch), 1e-3),
        opening_seconds=max(0.0, ends[0] - began - float(epoch)),
        epochs=int(_first(own["probe/epochs"])),
        trained=len(ends),
        resident_bytes=max(own["probe/resident"].values()),
        peak_bytes=max(own[PEAK_MEMORY].values()) if DEVICE_MEMORY in own else 0.0,
        device_bytes=_first(own[DEVICE_MEMORY]) if DEVICE_MEMORY in own else 0.0,
        checkpoint_bytes=max(own.get("probe/checkpoint", {1: 0.0}).values()),
    )


def _between(trials: list[Curves]) -> float:
    """Median of the gaps between two trials of one process; 0 when each process ran one."""
    by_process: dict[float, list[tuple[float, float]]] = {}
    for own in trials:
        span = (_first(own["probe/began"]), _last(own["probe/trained"]))
        by_process.setdefault(_first(own["probe/process"]), []).append(span)
    gaps = [
        after[0] - before[1]
        for spans in by_process.values()
        for before, after in zip(sorted(spans), sorted(spans)[1:], strict=False)
    ]
    return max(0.0, statistics.median(gaps)) if gaps else 0.0


def _first(curve: Mapping[int, float]) -> float:
    return next(iter(curve.values()))


def _last(curve: Mapping[int, float]) -> float:
    return list(curve.values())[-1]
