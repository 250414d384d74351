"""A program that runs a fake study on the small disk at its argument, and fills it for a while.

With a second argument, a folder on another disk, Ray runs the trials, MLflow's store is in that folder, and the disk
stays full for a minute.
"""

import sys
import threading
import time
from pathlib import Path

from agreement import assert_agreement
from fake_plans import make_space
from fake_sessions import FakeConfig, OpenFake, trained
from inline_driver import run_inline

from registry.tracking.run_log import open_run_log
from study.engine.ledger import read_ledger
from study.record.full_disk import FullDiskRetry
from study.record.trial_record import TrialRecord
from study.run.driver import StudyPlan, run_study
from study.spec.scheduler_spec import NoScheduler
from study.spec.study_spec import StudySpec


def fill(place: Path, after: int, times: int, seconds: float) -> None:
    """Once that many epochs are trained: take all there is, and give it back."""
    study = place / "studies" / "small"
    while len(trained(study)) < after:
        time.sleep(0.05)
    for _ in range(times):
        with (place / "filler").open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"0" * 4096)
            except OSError:
                time.sleep(seconds)
        (place / "filler").unlink()
        time.sleep(1.5)


def plan_on(place: Path) -> StudyPlan:
    """Four trials of four epochs."""
    space = make_space(place / "spaces", None, pace=0.3)
    base = space.base_config
    assert isinstance(base, FakeConfig)
    spec = StudySpec(trials=4, metric="val/probe", scheduler=NoScheduler(), concurrency=2)
    return StudyPlan("small", place / "studies" / "small", "pack0", spec, space, OpenFake(base))


def without_ray(plan: StudyPlan) -> list[TrialRecord]:
    """In this process."""
    manager = run_inline(plan, disk_retry=FullDiskRetry(say=lambda text: print(text, file=sys.stderr)))
    if manager.fatal is not None:
        raise manager.fatal
    return manager.ledger.records()


def with_ray(plan: StudyPlan, home: Path) -> list[TrialRecord]:
    """As people run it, recorded in a store on another disk."""
    with open_run_log(None, home) as log:
        run_study(plan, log)
        assert_agreement(plan.folder, log)
    return read_ledger(plan.folder).records()


def main(place: Path, home: Path | None) -> None:
    """Run it and say how it went."""
    plan = plan_on(place)
    times, seconds = (2, 3.0) if home is None else (1, 60.0)
    threading.Thread(target=fill, args=(place, 3, times, seconds), daemon=True).start()
    records = without_ray(plan) if home is None else with_ray(plan, home)
    complete = sum(record.state == "COMPLETE" for record in records)
    epochs = trained(plan.folder)
    print(f"{complete} COMPLETE, {len(epochs)} epochs trained, {len(set(epochs))} different")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
