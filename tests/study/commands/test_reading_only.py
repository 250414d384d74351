"""Another user reads a home folder that may not be written: every command that only shows something works."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from old_home import opened

ROOT = Path(__file__).resolve().parents[3]
STRANGER = 54321
"""A user that no machine has."""
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
    """A home of another user's that all may read and none write; and `mine`, which this one may."""
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


def as_stranger(place: Path, commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and exception of each, in one process of a user who owns nothing in `place`."""
    words = {"PACK": str(place / "pack"), "SPACE": str(place / "space.yaml")}
    given = [[words.get(word, word) for word in command] for command in commands]
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    where = {"PYTHONPATH": str(ROOT), "SPLATSWEEP_HOME": str(place / "runs"), "HOME": str(place / "mine")}
    who: dict[str, Any] = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if os.geteuid() == 0 else {}
    started = {"cwd": place / "mine", "env": {**kept, **where, "COLUMNS": "200"}, "text": True, **who}
    if subprocess.run([sys.executable, "-c", "import study"], capture_output=True, **started).returncode:
        pytest.skip("no other user may read this checkout")
    done = subprocess.run([sys.executable, "-c", COMMANDS], input=json.dumps(given), capture_output=True, **started)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def contents(place: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for top in ("runs", "pack") for file in (place / top).rglob("*")}


def test_whoever_may_read_a_home_sees_all_of_it(place):
    before = contents(place)
    found = dict(zip((*READING, *WRITING), as_stranger(place, [*READING.values(), *WRITING.values()]), strict=True))
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


def test_a_file_in_write_ahead_mode_is_read_too(place):
    """It wants an index beside it, which cannot be made; with nobody writing, it can do without."""
    (place / "runs").chmod(0o755)
    (place / "runs/mlflow.db").chmod(0o644)
    stored = sqlite3.connect(place / "runs/mlflow.db")
    assert stored.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    stored.close()
    assert not (place / "runs/mlflow.db-wal").exists()
    (place / "runs/mlflow.db").chmod(0o444)
    (place / "runs").chmod(0o555)
    ((code, said, error),) = as_stranger(place, [["models"]])
    assert (code, error) == (0, ""), said
    assert NAME in said
