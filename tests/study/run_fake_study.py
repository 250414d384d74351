"""A program that runs a fake study, for tests that kill it. Arguments: home, trials, pace in seconds[, slots]."""

import sys
from pathlib import Path

from fake_plans import make_space
from fake_sessions import FakeConfig, OpenFake

from registry.tracking.run_log import open_run_log
from study.run.driver import StudyPlan, run_study
from study.spec.scheduler_spec import ASHA
from study.spec.study_spec import StudySpec


def plan(home: Path, trials: int, pace: float, slots: int = 2) -> StudyPlan:
    space = make_space(home / "spaces", {"quality": {"float": [0.1, 1.0]}}, pace=pace, epochs=6)
    base = space.base_config
    assert isinstance(base, FakeConfig)
    spec = StudySpec(trials=trials, metric="val/probe", scheduler=ASHA(grace=2), concurrency=slots)
    return StudyPlan("killed", home / "studies" / "killed", "pack0", spec, space, OpenFake(base))


if __name__ == "__main__":
    home = Path(sys.argv[1])
    slots = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    with open_run_log(None, home) as log:
        summary = run_study(plan(home, int(sys.argv[2]), float(sys.argv[3]), slots), log)
    print("interrupted" if summary.interrupted else "done", flush=True)
