"""The commands at a registry that cannot be used: one line each, whichever command it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from registry.tracking.connection import connect
from ssl_core.errors import SplatsweepError
from study.commands.cli import app
from tests.held_database import held

ROOT = Path(__file__).resolve().parents[3]
READING = [
    ("models",), ("pull", "m/1", "--to", "pulled"), ("history", "m"), ("compare", "m/1", "m/2"), ("lineage", "m/1"),
    ("lineage", "--study", "s"), ("rerun", "m/1"),
]  # fmt: skip
WRITING = [
    ("watch", "--once"), ("promote", "m/1", "--reason", "r"), ("rollback", "m", "--reason", "r"), ("ui", "--port", "1"),
    ("evaluate", "m/1", "--pack", "PACK"), ("backup", "saved.tar"), ("restore", "SAVED", "--force"),
]  # fmt: skip


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty registry."""
    home = tmp_path_factory.mktemp("migrated")
    connect(None, home, "splatsweep")
    return home


@pytest.fixture
def home(migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the commands look."""
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(migrated, tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=lambda words: " ".join(words[:2]))
def test_a_damaged_database_is_one_line(words, home, tiny_pack, tmp_path):
    if words[0] == "restore":
        assert CliRunner().invoke(app, ["backup", str(tmp_path / "whole.tar")]).exit_code == 0
    (home / "mlflow.db").write_bytes(b"no database" * 1000)
    places = {"PACK": str(tiny_pack.path), "SAVED": str(tmp_path / "whole.tar")}
    done = CliRunner().invoke(app, [places.get(word, word) for word in words])
    assert isinstance(done.exception, SplatsweepError), done.exception
    assert f"the database {home / 'mlflow.db'} is damaged (file is not a database)" in str(done.exception)
    assert "\n" not in str(done.exception)
    assert done.stdout.count("\n") <= 1, "watch says what it watches"


def test_what_the_line_says_is_what_helps(home, tmp_path):
    assert CliRunner().invoke(app, ["backup", "saved.tar"]).exit_code == 0
    (home / "mlflow.db").write_bytes(b"no database" * 1000)
    (home / "mlflow.db").rename(home / "damaged.db")
    restored = CliRunner().invoke(app, ["restore", "saved.tar", "--force"])
    assert restored.exit_code == 0, restored.exception
    assert json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout) == []


@pytest.mark.parametrize("words", READING, ids=lambda words: " ".join(words[:2]))
def test_reading_where_nothing_is_makes_nothing(words, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = CliRunner().invoke(app, list(words))
    if words[0] == "models":
        assert "no encoder is registered yet" in done.stdout
    else:
        assert isinstance(done.exception, SplatsweepError), done.exception
        assert "none are registered" in str(done.exception) or "comes from" in str(done.exception)
    assert not (tmp_path / "none").exists()


def command(*words: str) -> "subprocess.Popen[str]":
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "study.commands.cli", *words], env=where, text=True, **pipes)


@pytest.mark.slow
def test_a_command_says_that_it_waits_and_goes_on(home):
    with held(home / "mlflow.db") as release:
        waiting = command("models")
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == f"the database {home / 'mlflow.db'} is busy; waiting up to 20 s\n"
        release()
        said, errors = waiting.communicate(timeout=120)
    assert (waiting.returncode, errors) == (0, "")
    assert "no encoder is registered yet" in said


@pytest.mark.slow
def test_commands_end_in_one_line_when_it_lasts(home):
    with held(home / "mlflow.db"):
        begun = [command(*words) for words in (*READING[:2], *WRITING[:1], ("backup", "saved.tar"))]
        for process in begun:
            _, errors = process.communicate(timeout=200)
            lines = errors.splitlines()
            assert process.returncode == 2
            assert lines[0].endswith("is busy; waiting up to 20 s")
            assert lines[-1].startswith(f"error: the database {home / 'mlflow.db'} is busy: another program held it")
            assert len(lines) <= 3, "watch waits for the lock of the store, too"
