"""The command line of the watcher, on an empty registry."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from registry.tracking.run_log import open_run_log
from ssl_core.errors import ConfigError, SplatsweepError
from study.commands import watch


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "SPLATSWEEP_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    made = typer.Typer()
    watch.add_to(made)
    return made


def test_an_empty_registry_is_left_at_once(app: typer.Typer, tiny_pack: Any) -> None:
    result = CliRunner().invoke(app, ["--once", "--json", "--pack", str(tiny_pack.path)], catch_exceptions=False)
    assert result.exit_code == 0
    first, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert first["kind"] == "watching"
    assert tiny_pack.manifest.pack_digest in first["reason"]
    assert last == {"kind": "stopped", "reference": "", "reason": "0 judged, 0 refused", "seconds": None}


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "0"], "SPLATSWEEP_WEBHOOK_SECRET"),
        (["--register-webhook", "https://watch.example/webhook"], "SPLATSWEEP_WEBHOOK_SECRET"),
        (["--pack", "nowhere"], "nowhere"),
    ],
)
def test_errors_name_the_remedy(app: typer.Typer, arguments: list[str], words: str) -> None:
    with pytest.raises(SplatsweepError, match=words):
        CliRunner().invoke(app, ["--once", *arguments], catch_exceptions=False)


def test_a_secret_that_keeps_nobody_out_is_refused(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATSWEEP_WEBHOOK_SECRET", "letmein")
    with pytest.raises(ConfigError, match="7 characters"):
        CliRunner().invoke(app, ["--once"], catch_exceptions=False)
