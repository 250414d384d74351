"""However the program is started, a study of a method of the user's own trains, whatever lies around it.

The working directory, PYTHONPATH and the user's site-packages hold a study.py, a registry/ and a search_spaces/.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed import ROOT, environment, installed, shadows

SMALL = {"points.num_points": 32, "training.epochs": 1, "training.batch_size": 6}
SWEEP = ["sweep", "own_recipe.yaml", "--pack", "pack", "--trials", "1", "--concurrency", "1", "--json",
         *(word for key, value in SMALL.items() for word in ("--set", f"{key}={value}"))]  # fmt: skip
UV = shutil.which("uv", path=os.pathsep.join([os.environ.get("PATH", ""), str(ROOT / ".tools/bin")]))


@pytest.fixture(scope="module")
def lab(tiny_pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with an environment in which the project is installed."""
    folder = tmp_path_factory.mktemp("lab")
    shadows(folder, folder / "run by mistake")
    installed(folder)
    for name in ("own_recipe.py", "own_recipe.yaml"):
        shutil.copy(ROOT / "examples" / name, folder)
    shutil.copytree(tiny_pack.path, folder / "pack")
    (folder / "pyproject.toml").write_text("[project]\nname = 'mine'\nversion = '1'\nrequires-python = '>=3.11'\n")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/splatsweep").symlink_to(folder / ".venv/bin/splatsweep")  # as pipx does
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    shadows(folder / f"base/lib/{version}/site-packages", folder / "run by mistake")
    return folder


STARTS = {
    "a full path": [".venv/bin/splatsweep"],
    "a link on PATH": ["env", "PATH=elsewhere:/usr/bin:/bin", "splatsweep"],
    "an activated environment": ["sh", "-c", '. .venv/bin/activate && splatsweep "$@"', "sh"],
    "python -m": [".venv/bin/python", "-m", "splatsweep"],
    "uv run": [UV or "uv", "run", "--offline", "--no-sync", "splatsweep"],
    "uv run --active": [
        "env", "VIRTUAL_ENV=.venv", UV or "uv", "run", "--offline", "--active", "--no-sync", "splatsweep",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_a_study_trains(start: str, lab: Path, tmp_path: Path) -> None:
    if "uv" in start and UV is None:
        pytest.skip("no uv on this machine")
    given = environment(tmp_path / "home", PYTHONPATH=str(lab), PYTHONUSERBASE=str(lab / "base"))
    done = subprocess.run([*STARTS[start], *SWEEP], cwd=lab, env=given, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["outcomes"] == {"COMPLETE": 1}
    assert [item["name"] for item in facts["encoders"]] == ["agreement-points"]
    assert not list(lab.rglob("run by mistake"))
    assert "run by mistake" not in done.stderr
