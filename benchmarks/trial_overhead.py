"""What a trial costs beyond its training: ours (warm actors) against stock Ray Tune (a fresh actor per trial).

Twenty trials that train for no time, two at a time, torch imported in the worker as real trials do. Ours is the whole
study engine: Optuna journal, MLflow run per trial with metrics and picture, checkpoints, ASHA, the report at the end.
Stock is `tune.Tuner` with OptunaSearch and its default loggers. Importing and starting Ray is in neither; starting
actors is in both.

    .venv/bin/python -m benchmarks.trial_overhead
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import ROOT, describe_load, describe_machine
from benchmarks.table import Comparison, Samples, Section, ratio_table
from search_spaces.space import load_space
from ssl_core.config import Config
from study.cluster import ray_cluster
from study.driver import StudyPlan, run_study
from study.session import TrialRequest
from study.spec import StudySpec

SLOTS = 2
SETTLE = 6.0
LIMIT = 0.8
"""Seconds per trial that ours may take."""


class NothingConfig(Config):
    """One number to search."""

    x: float = 0.5


class NothingSession:
    """Imports torch and trains for no time."""

    def __init__(self, request: TrialRequest) -> None:
        import torch

        torch.set_num_threads(1)
        self.weights = torch.zeros(8)
        self.epoch, self.epochs = 0, 2

    def run_epoch(self) -> Mapping[str, float]:
        """Nothing."""
        self.epoch += 1
        return {"val/probe": float(self.weights.sum()) + self.epoch}

    def save(self, folder: Path) -> None:
        """A tiny checkpoint."""
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"epoch": self.epoch}))

    def load(self, folder: Path) -> None:
        """Where it was."""
        self.epoch = int(json.loads((folder / "state.json").read_text())["epoch"])


def ours(folder: Path, trials: int) -> float:
    """Seconds per trial of the whole engine."""
    from registry.run_log import open_run_log

    file = folder / "space.yaml"
    file.write_text("recipe: nothing\npreset: quick\nspace: {x: {float: [0, 1]}}\n")
    space = load_space(file, lambda recipe, preset: NothingConfig())
    spec = StudySpec(trials=trials, concurrency=SLOTS, metric="val/probe", grace=1)
    plan = StudyPlan("overhead", folder / "studies" / "overhead", "none", spec, space, NothingSession)
    with open_run_log(None, folder) as log:
        began = time.perf_counter()
        run_study(plan, log, Console(file=open(os.devnull, "w")))  # noqa: SIM115, PTH123
        return (time.perf_counter() - began) / trials


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


def measure(quick: bool = False) -> Section:
    """Seconds per trivial trial, everything included."""
    trials = 4 if quick else 20
    mine, theirs = measure_both(trials)
    return Section(
        title="Overhead of a trial",
        shows=f"Wall time of {trials} trials that train for no time, divided by {trials}: two at a time, torch "
        "imported in the worker; with Optuna journal, MLflow run, metrics, picture, checkpoints and report.",
        baseline="The baseline is stock Ray Tune: a fresh actor per trial, OptunaSearch, its own loggers, no MLflow.",
        tables=(ratio_table([Comparison("one trial", Samples((mine,)), Samples((theirs,)))], "fresh actors"),),
        notes=(f"Ours may take {LIMIT} s per trial on two idle cores.",),
    )


def measure_both(trials: int) -> tuple[float, float]:
    """(ours, stock) in seconds per trial, on a Ray of its own."""
    # workers import this module by its name
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder, ray_cluster(float(SLOTS)):
        import ray.tune  # noqa: F401 - or whoever comes first would pay for it

        # Ray's own agents go on starting for a while after it says that it is ready
        time.sleep(SETTLE)
        return ours(Path(folder), trials), stock(Path(folder), trials)


def main() -> None:
    """Print the table."""
    print(describe_machine(), describe_load(), sep=", ")
    print(measure().text())


if __name__ == "__main__":
    from benchmarks import trial_overhead

    # as the module that workers can import, not as __main__
    trial_overhead.main()
