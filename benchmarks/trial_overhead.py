"""Studies of trials that train for no time, or sleep: ours (warm actors), and stock Ray Tune (an actor per trial).

Two trials at a time, torch imported in the worker as real trials do. Ours is the whole study engine: journal, MLflow
run per trial with metrics and picture, checkpoints, ASHA, the report at the end. Stock is `tune.Tuner` with
OptunaSearch and its default loggers. Importing and starting Ray is in neither; starting actors is in both.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.nothing_session import OpenNothing
from search_spaces.space import load_space
from ssl_core.config import Config
from study.engine.ledger import read_ledger
from study.run.driver import StudyPlan, run_study
from study.spec.scheduler_spec import ASHA
from study.spec.study_spec import StudySpec

SLOTS = 2
LIMIT = 0.3
"""Seconds per trial that ours may take."""


class NothingConfig(Config):
    """One number to search, and how long to sleep."""

    x: float = 0.5
    seconds: float = 0.0


@dataclass(frozen=True)
class Course:
    """How a study went.

    Attributes:
        seconds: of the whole, from calling it to its return.
        first: seconds until its first trial ended: actors are started in them, and import torch.
        ends: seconds at which its trials ended, after the first end.
    """

    seconds: float
    first: float
    ends: tuple[float, ...]


def ours(folder: Path, trials: int, seconds: float = 0.0, tracked: bool = True) -> Course:
    """A study by the whole engine, of trials of so many seconds that all run to their end if these are not zero."""
    from registry.tracking.run_log import open_run_log

    file = folder / "space.yaml"
    file.write_text("recipe: nothing\npreset: quick\nspace: {x: {float: [0, 1]}}\n")
    space = load_space(file, lambda recipe, preset: NothingConfig())
    # grace 2: nobody is stopped before its end, so that every trial takes its time
    spec = StudySpec(trials=trials, concurrency=SLOTS, metric="val/probe", scheduler=ASHA(grace=2 if seconds else 1))
    plan = StudyPlan("overhead", folder / "studies" / "overhead", "none", spec, space, OpenNothing(seconds))
    with open_run_log(None, folder) as log, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        if tracked:
            _ = log.connection  # makes the store, once in the life of a home folder
        called, began = time.time(), time.perf_counter()
        run_study(plan, log if tracked else None, Console(file=nowhere))
        took = time.perf_counter() - began
    ends = sorted(record.ended.timestamp() for record in read_ledger(plan.folder).records() if record.ended)
    return Course(took, ends[0] - called, tuple(end - ends[0] for end in ends))


def stock(folder: Path, trials: int) -> float:
    """Seconds per trial of stock Tune with a class trainable."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    class Nothing(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            import torch

            self.weights, self.epoch = torch.zeros(8), 0

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            return {"value": float(self.weights.sum()) + self.epoch, "done": self.epoch == 2}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "state.json").write_text(json.dumps({"epoch": self.epoch}))

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    tuner = tune.Tuner(
        Nothing,
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(
            metric="value", mode="max", num_samples=trials, search_alg=OptunaSearch(), max_concurrent_trials=SLOTS
        ),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder), verbose=0),
    )
    began = time.perf_counter()
    tuner.fit()
    return (time.perf_counter() - began) / trials
