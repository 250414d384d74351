"""The command line of the watcher, on an empty registry."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from registry.tracking.run_log import open_run_log
from ssl_core.errors import SplatsweepError
from study.commands.champion_commands import watch


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    made = typer.Typer()
    made.command()(watch)
    return made


def test_an_empty_registry_is_left_at_once(app: typer.Typer, tiny_pack: Any) -> None:
    result = CliRunner().invoke(app, ["--once", "--json", "--pack", str(tiny_pack.path)], catch_exceptions=False)
    assert result.exit_code == 0
    first, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert first["kind"] == "watching"
    assert tiny_pack.manifest.pack_digest in first["reason"]
    assert last == {"kind": "stopped", "reference": "", "reason": "0 judged, 0 refused, 0 fine-tuned", "seconds": None}


@pytest.mark.slow
def test_packs_at_home_are_found_and_strange_names_cannot_write_to_the_terminal(
    app: typer.Typer, tiny_pack: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_pack.path, tmp_path / "home/packs/tiny")
    (tmp_path / "home/packs/half").mkdir()
    (tmp_path / "home/packs/half/manifest.json").write_text("{")
    client = open_run_log(None, tmp_path / "home").client
    client.create_registered_model("red\x1b[31m", {"splatsweep.kind": "encoder"})
    client.create_model_version("red\x1b[31m", str(tmp_path), tags={"splatsweep.pack_digest": "f00d"})
    result = CliRunner().invoke(app, ["--once"], catch_exceptions=False)
    assert result.exit_code == 0
    assert tiny_pack.manifest.pack_digest in result.stdout
    assert "passed over red?[31m/1: it was trained on pack f00d" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_pack_that_is_not_there_is_named(app: typer.Typer) -> None:
    with pytest.raises(SplatsweepError, match="nowhere"):
        CliRunner().invoke(app, ["--once", "--pack", "nowhere"], catch_exceptions=False)


@pytest.mark.slow
def test_a_version_that_cannot_be_evaluated_is_refused_once_and_said(
    app: typer.Typer, tiny_pack: Any, tmp_path: Path
) -> None:
    client = open_run_log(None, tmp_path / "home").client
    client.create_registered_model("empty", {"splatsweep.kind": "encoder"})
    (tmp_path / "nothing").mkdir()
    client.create_model_version("empty", str(tmp_path / "nothing"))
    for counts, kinds in (("1", ["watching", "judging", "refused", "stopped"]), ("0", ["watching", "stopped"])):
        result = CliRunner().invoke(app, ["--once", "--json", "--pack", str(tiny_pack.path)], catch_exceptions=False)
        said = [json.loads(line) for line in result.stdout.splitlines()]
        assert result.exit_code == 0
        assert [notice["kind"] for notice in said] == kinds
        assert said[-1]["reason"] == f"0 judged, {counts} refused"
