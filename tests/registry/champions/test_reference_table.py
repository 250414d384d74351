"""The reference's table on the command line: printed with intervals, and forgotten."""

import json

import pytest
from tiny_bundles import make_bundle
from typer.testing import CliRunner

from registry.tracking.run_log import open_run_log
from registry.versions.store import EncoderStore
from ssl_core.errors import ConfigError
from ssl_core.evaluation.protocol import PROTOCOL_VERSION
from study.commands.cli import app


@pytest.fixture
def image_version(log, lineage, tmp_path):
    """A registered image encoder, then the log is closed for the command to open."""
    bundle = make_bundle(tmp_path / "image", 2, "image")
    return EncoderStore(log).register(bundle, "tiny-image", lineage, lineage.run_id)


def run(home, monkeypatch, *words):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = CliRunner().invoke(app, ["evaluate", *words, "--protocol", "reference"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_is_printed_and_nothing_is_stored(home, image_version, tiny_pack, monkeypatch):
    words = (image_version.reference, "--pack", str(tiny_pack.path))
    found = json.loads(run(home, monkeypatch, *words, "--json"))
    assert [row["views"] for row in found["rows"]] == ["1", "4"], "the pack has four views"
    for row in found["rows"]:
        cells = [row[name] for name in ("1 %", "10 %", "50 %", "all")]
        assert all("±" in cell for cell in cells)
        assert all(0 <= float(cell.split()[0]) <= 100 for cell in cells)
    assert found["extraction_seconds"]["forward"] > 0
    shown = run(home, monkeypatch, *words)
    assert all(text in shown for text in ("50 %", "±", "% of it in the encoder"))
    with open_run_log(None, home) as log:
        after = EncoderStore(log).get(image_version.name, image_version.version)
    assert after == image_version, "no report, no event, no decision, no alias"


@pytest.mark.parametrize("protocol", ["gate", "reference"])
def test_fine_tuning_is_left_out_of_the_full_protocol_only(home, monkeypatch, protocol):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    words = ["evaluate", "any@champion", "--pack", "nowhere", "--no-fine-tuning", "--protocol", protocol]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ConfigError)
    assert "--protocol full" in str(result.exception)


@pytest.mark.slow
def test_the_full_protocol_without_fine_tuning_says_what_it_lacks(home, log, lineage, tiny_pack, tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "points", 2)
    version = EncoderStore(log).register(bundle, "tiny-points", lineage, lineage.run_id)
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = ["evaluate", version.reference, "--pack", str(tiny_pack.path), "--protocol", "full", "--no-fine-tuning"]
    found = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert found["complete"] is False
    assert found["left_out"]["fine_tuning"] == "not asked for"
    assert found["protocol"] == PROTOCOL_VERSION
    assert not any("Fine-tuning" in title for title, _, _ in found["sections"])
    assert any("Robustness" in title for title, _, _ in found["sections"])
    shown = " ".join(CliRunner().invoke(app, words, catch_exceptions=False).stdout.split())
    assert "not a complete evaluation by the full protocol, left out: fine tuning: not asked for" in shown
    with open_run_log(None, home) as again:
        store = EncoderStore(again)
        card = (store.download("tiny-points", 1, tmp_path) / "model_card.md").read_text()
    assert "Of the full protocol not asked for, or not in full: fine tuning." in card
