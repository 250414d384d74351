"""A program that runs a study of the real recipe, for tests that kill it. Arguments: space file, pack, slots."""

import os
import sys
from pathlib import Path

from registry.tracking.run_log import open_run_log
from study.registration.sweep import Request, plan_study
from study.run.driver import run_study
from study.spec.home import home

if __name__ == "__main__":
    space, pack, slots = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    plan, _, _ = plan_study(Request(space=space, pack=pack, name="tiny", concurrency=slots))
    with open_run_log(os.environ.get("MLFLOW_TRACKING_URI"), home()) as log:
        summary = run_study(plan, log)
    print("interrupted" if summary.interrupted else "done", flush=True)
