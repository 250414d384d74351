"""The home made by revision 3e03538 (`golden/make_home_golden.py`), opened in another place than where it was made.

The archive was made under /tmp/splatsweep_home, and the database that it holds as text, `runs/mlflow.sql`, names that
place: to the program it is a home that was moved.
"""

import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from revision_runs import REVISION, CommandLine, trial_facts

MADE_AT = Path("/tmp/splatsweep_home")
ARCHIVE = Path(__file__).parent / "golden" / f"home_{REVISION}.tar.xz"
ENDED = Path(__file__).parent / "golden" / f"home_{REVISION}_ended.json"
SWEEP = ("sweep", "space.yaml", "--pack", "pack", "--name", "old", "--concurrency", "1")


def opened(root: Path, folder: Path) -> CommandLine:
    """The archive unpacked and at home in `folder`, where the code of the checkout `root` will use it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    database = sqlite3.connect(folder / "runs/mlflow.db")
    database.executescript((folder / "runs/mlflow.sql").read_text())
    database.close()
    return CommandLine(root, folder)


def continued(run: CommandLine) -> dict[str, Any]:
    """The study's end: its trials, the winner, and what became of the encoders."""
    swept = json.loads(run(*SWEEP, "--json"))
    assert not swept["interrupted"]
    encoders = [{key: item[key] for key in ("name", "version", "trial", "status")} for item in swept["encoders"]]
    return {"trials": trial_facts(run, "old"), "winner": swept["best"][0], "encoders": encoders}


def loaded_features(reference: str | Path, inputs: np.ndarray, home: Path) -> np.ndarray:
    """[B, F]: what a registered or pulled encoder gives, through the library."""
    from registry.pull import load

    return load(reference, home=home).encode(inputs)
