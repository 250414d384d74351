"""The studies that benchmarks/tracking.py measures: trials that report twenty metrics an epoch, every PACE seconds.

    .venv/bin/python -m benchmarks.tracking_study WHAT TRIALS EPOCHS PACE [ADDRESS]    prints the numbers as JSON

WHAT is `report` (cost of a report on the driver), `bare`, `tracked` or `stock` (results per second).
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from registry.tracking.run_log import RunLog, open_run_log
from search_spaces.space import SearchSpace, load_space
from ssl_core.config import Config
from study.cluster.cluster import ray_cluster
from study.engine.ledger import read_ledger
from study.run.driver import StudyPlan, run_study
from study.spec.study_spec import StudySpec
from study.spec.trial_request import TrialRequest

SLOTS, METRICS = 2, 20


class InstantConfig(Config):
    """One number to search; `pace`: seconds of an epoch."""

    x: float = 0.5
    epochs: int = 50
    pace: float = 0.0


def metrics(x: float, epoch: int) -> dict[str, float]:
    """Twenty, the objective among them."""
    return {"val/probe": x * epoch, **{f"train/metric_{i:02d}": x * i / epoch for i in range(METRICS - 1)}}


class InstantSession:
    """Trains for no time, or sleeps."""

    def __init__(self, request: TrialRequest) -> None:
        self.x, self.epochs = float(request.values.get("x", 0.5)), int(request.values.get("epochs", 50))
        self.pace = float(request.values.get("pace", 0.0))
        self.epoch = 0

    def run_epoch(self) -> Mapping[str, float]:
        """Nothing but numbers."""
        time.sleep(self.pace)
        self.epoch += 1
        return metrics(self.x, self.epoch)

    def save(self, folder: Path) -> None:
        """A tiny checkpoint."""
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"epoch": self.epoch}))

    def load(self, folder: Path, transfer: bool = False) -> None:
        """Where it was."""
        self.epoch = int(json.loads((folder / "state.json").read_text())["epoch"])


def plan_of(folder: Path, name: str, trials: int, epochs: int, pace: float = 0.0) -> StudyPlan:
    """A study without a scheduler, so that every trial reports every epoch."""
    file = folder / f"{name}.yaml"
    file.write_text(
        f"recipe: instant\npreset: quick\nspace: {{x: {{float: [0.1, 1]}}, epochs: {{choice: [{epochs}]}}, "
        f"pace: {{choice: [{pace}]}}}}\n"
    )
    space: SearchSpace = load_space(file, lambda recipe, preset: InstantConfig())
    spec = StudySpec(trials=trials, concurrency=SLOTS, metric="val/probe", scheduler="none", first_is_base=False)
    return StudyPlan(name, folder / "studies" / name, "none", spec, space, InstantSession)


def results_per_second(
    folder: Path, name: str, trials: int, epochs: int, log: RunLog | None, pace: float = 0.0
) -> list[float]:
    """Of a study: from the start of its first trial to the end of its last, and from its call to its return.

    The second includes starting actors, the report, and waiting until the last record has arrived.
    """
    plan = plan_of(folder, name, trials, epochs, pace)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        began = time.perf_counter()
        run_study(plan, log, Console(file=nowhere))
        seconds = time.perf_counter() - began
    records = read_ledger(plan.folder).records()
    first = min(record.started for record in records if record.started)
    last = max(record.ended for record in records if record.ended)
    return [trials * epochs / (last - first).total_seconds(), trials * epochs / seconds]


def stock(folder: Path, trials: int, epochs: int, address: str) -> float:
    """Results per second of stock Tune with OptunaSearch and MLflow's callback."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    class Instant(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self.x, self.epoch = float(config["x"]), 0

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            return {**metrics(self.x, self.epoch), "done": self.epoch == epochs}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "state.json").write_text(json.dumps({"epoch": self.epoch}))

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    callback = MLflowLoggerCallback(tracking_uri=address, experiment_name="stock")
    tuner = tune.Tuner(
        Instant,
        param_space={"x": tune.uniform(0.1, 1.0)},
        tune_config=tune.TuneConfig(
            metric="val/probe", mode="max", num_samples=trials, search_alg=OptunaSearch(), max_concurrent_trials=SLOTS
        ),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder), verbose=0, callbacks=[callback]),
    )
    began = time.perf_counter()
    tuner.fit()
    return trials * epochs / (time.perf_counter() - began)


def report_seconds(folder: Path, reports: int, address: str | None) -> list[float]:
    """Seconds that each report of twenty metrics keeps the driver, journal and metrics file included."""
    from study.engine.ledger import open_ledger
    from study.engine.limits import RunContext, StudyCallback
    from study.engine.meter import Meter
    from study.engine.trial_manager import TrialManager
    from study.record.config_file import ConfigFile
    from study.record.metrics_file import MetricsFile
    from study.run.mirror_process import MirrorProcess
    from study.spec.clock import SystemClock
    from study.spec.outcome import EpochReport

    plan = plan_of(folder, "report", 1, reports + 1)
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    clock = SystemClock()
    mirror = MirrorProcess(open_run_log(address, folder), ledger, print) if address else None
    meter = Meter(clock, SLOTS, 0.0, ledger)
    context = RunContext(plan.folder, SLOTS, plan.check, meter)
    callbacks: list[StudyCallback] = [ConfigFile(plan.folder, plan.space), MetricsFile(plan.folder)]
    manager = TrialManager(ledger, plan.space, context, callbacks)
    assert manager.next_request() is not None
    found: list[float] = []
    for epoch in range(1, reports + 1):
        report = EpochReport(number=0, epoch=epoch, epochs=reports + 1, metrics=metrics(0.5, epoch), seconds=0.01)
        time.sleep(0.002)  # a driver has other things to do in between; the mirror works meanwhile
        began = time.perf_counter()
        manager.on_report(report)
        if mirror is not None:
            mirror.tick()
        found.append(time.perf_counter() - began)
    if mirror is not None:
        mirror.leave(60.0)
    return found


def main(what: str, trials: int, epochs: int, pace: float, address: str | None) -> Any:
    """The numbers of one measurement, in a folder and on a Ray of their own."""
    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as root:
        folder = Path(root)
        if what == "report":
            return report_seconds(folder, trials * epochs, address)
        with ray_cluster(float(SLOTS)):
            import ray.tune  # noqa: F401 - or whoever comes first would pay for it

            if what == "stock":
                return stock(folder, trials, epochs, address or "")
            log = open_run_log(address, folder) if what == "tracked" else None
            # actors, imports and a store's first request belong to neither
            results_per_second(folder, "warm", 2, 2, log)
            return results_per_second(folder, "measured", trials, epochs, log, pace)


if __name__ == "__main__":
    from benchmarks import tracking_study  # as the module that workers can import, not as __main__

    given = sys.argv[5] if len(sys.argv) > 5 else None
    numbers = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    print(json.dumps(tracking_study.main(sys.argv[1], *numbers, given)))
