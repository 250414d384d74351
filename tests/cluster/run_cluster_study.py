"""A driver: runs a fake study on the cluster that RAY_ADDRESS names. Arguments: home, name, trials, pace in seconds."""

import sys
from pathlib import Path

import yaml
from fake_sessions import FakeConfig, OpenFake, fake_preset

from registry.tracking.run_log import open_run_log
from search_spaces.space import load_space
from ssl_core.errors import SplatsweepError
from study.run.driver import StudyPlan, run_study
from study.spec.scheduler_spec import ASHA
from study.spec.study_spec import StudySpec

EPOCHS = 6


def plan(home: Path, name: str, trials: int, pace: float) -> StudyPlan:
    """Two trials at a time, one per slot of the two nodes."""
    file = home / "spaces" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    space = {"quality": {"float": [0.1, 1.0]}}
    text = {"recipe": "fake", "preset": "quick", "base": {"pace": pace, "epochs": EPOCHS}, "space": space}
    file.write_text(yaml.safe_dump(text))
    loaded = load_space(file, fake_preset)
    base = loaded.base_config
    assert isinstance(base, FakeConfig)
    spec = StudySpec(trials=trials, metric="val/probe", scheduler=ASHA(grace=2), concurrency=2)
    return StudyPlan(name, home / "studies" / name, "pack0", spec, loaded, OpenFake(base))


if __name__ == "__main__":
    import os

    home = Path(sys.argv[1])
    try:
        with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home) as log:
            summary = run_study(plan(home, sys.argv[2], int(sys.argv[3]), float(sys.argv[4])), log)
        print("interrupted" if summary.interrupted else "done", flush=True)
    except SplatsweepError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(error.exit_code)
