"""A home folder that may not be written is read: every command that only shows something works, and changes nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from old_home import opened

from tests.held_database import unprivileged

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = """
import json, sys, traceback
from typer.testing import CliRunner
from study.commands.cli import app

for words in json.load(sys.stdin):
    done = CliRunner().invoke(app, words)
    said = "" if done.exception is None else f"{type(done.exception).__name__}: {done.exception}"
    print(json.dumps([done.exit_code, done.output, said]))
"""
NAME = "cross-modal-points"
READING = {
    "models": ["models"],
    "pull": ["pull", f"{NAME}/1", "--to", "pulled"],
    "history": ["history", NAME],
    "compare": ["compare", f"{NAME}/1", f"{NAME}/1"],
    "lineage": ["lineage", f"{NAME}/1"],
    "lineage --study": ["lineage", "--study", "old"],
    "status": ["status", "old"],
    "why": ["why", "old", "0"],
    "replay": ["replay", "old"],
    "report": ["report", "old", "--out", "report.html"],
    "inspect": ["inspect", "PACK"],
    "backup": ["backup", "saved.tar"],
}
WRITING = {
    "promote": ["promote", f"{NAME}/1", "--reason", "mine"],
    "report beside the study": ["report", "old"],
    "sweep": ["sweep", "SPACE", "--pack", "PACK", "--name", "old"],
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A home in which all may be read and nothing written, beside `mine`, which may."""
    folder = Path(tempfile.mkdtemp(prefix="splatsweep-reading-"))
    try:
        opened(ROOT, folder)
        (folder / "runs/mlflow.sql").unlink()
        (folder / "mine").mkdir()
        for file in (folder, *folder.rglob("*")):
            file.chmod(0o555 if file.is_dir() else 0o444)
        (folder / "mine").chmod(0o777)
        yield folder
    finally:
        for file in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            file.chmod(0o755)
        shutil.rmtree(folder)


def as_reader(place: Path, commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and exception of each, in one process for which permissions count."""
    words = {"PACK": str(place / "pack"), "SPACE": str(place / "space.yaml")}
    given = json.dumps([[words.get(word, word) for word in command] for command in commands])
    start = [*unprivileged(), sys.executable, "-c", COMMANDS]
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    where = {"PYTHONPATH": str(ROOT), "SPLATSWEEP_HOME": str(place / "runs"), "HOME": str(place / "mine")}
    environment = {**kept, **where, "COLUMNS": "200"}
    done = subprocess.run(start, input=given, capture_output=True, text=True, cwd=place / "mine", env=environment)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def contents(place: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for top in ("runs", "pack") for file in (place / top).rglob("*")}


@pytest.mark.slow
def test_whoever_may_only_read_a_home_sees_all_of_it(place):
    before = contents(place)
    found = dict(zip((*READING, *WRITING), as_reader(place, [*READING.values(), *WRITING.values()]), strict=True))
    for name in READING:
        code, said, error = found[name]
        assert (code, error) == (0, ""), f"{name}: {said} {error}"
    assert "no picture: " in found["compare"][1]
    assert NAME in found["models"][1]
    assert (place / "mine/pulled/encoder.safetensors").is_file()
    assert (place / "mine/report.html").is_file()
    for name in WRITING:
        code, _, error = found[name]
        assert code != 0, name
        assert error.startswith("StorageError: "), f"{name}: {error}"
        assert "\n" not in error
    assert "set SPLATSWEEP_HOME to another folder" in found["promote"][2]
    assert "with --out FILE.html" in found["report beside the study"][2]
    assert contents(place) == before
