"""`import-checkpoint` from the command line, on an embedded registry."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssl_core.errors import ConfigError
from study.commands.cli import app
from tests.ssl_core.models.reference_checkpoints import IMAGE, random_checkpoint, saved


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return saved(random_checkpoint("pointnet_cls", 10), tmp_path_factory.mktemp("command") / "best_model.pth")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command with the arguments given."""
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*arguments: object):
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(app, ["import-checkpoint", *words], catch_exceptions=True)

    return call


SMALL = ("--num-points", 48, "--image-size", 32)


@pytest.mark.slow
def test_a_reference_checkpoint_is_registered_and_accounted_for(run, file):
    made = run(file, "--model", "pointnet_cls", "--features", "xyz, scale,rotation", "--json", *SMALL)
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["report"]["summary"].endswith("tensors placed (100 %)")
    assert [version["name"] for version in told["versions"]] == ["cross-modal-points", "cross-modal-image"]
    assert told["decisions"] == []
    again = run(file, "--model", "pointnet_cls", "--features", "xyz,scale,rotation", *SMALL)
    assert "100 %" in again.stdout
    assert "cross-modal-points/1" in again.stdout


@pytest.mark.slow  # a quarter of a minute
def test_it_is_evaluated_where_a_pack_is_given(run, tmp_path, tiny_pack):
    weights = saved(random_checkpoint()[IMAGE], tmp_path / "resnet18.pth")
    told = run(weights, "--model", "resnet18", "--image-size", 32, "--pack", tiny_pack.path, "--json")
    assert told.exit_code == 0, told.output
    (version,), (decision,) = (json.loads(told.stdout)[key] for key in ("versions", "decisions"))
    assert version["name"] == "resnet18-image"
    assert version["evaluation"] is not None
    assert decision["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "resnet18", "--features", "xyz"), "--features has no meaning for --model resnet18"),
        (("--model", "pointnet_cls", "--normalisation", "none"), "--normalisation has no meaning"),
        (("--model", "pointnet_cls"), "pass --features xyz,scale,rotation"),
        (("--model", "pointnet_cls", "--features", "xyz,rotation,scale"), "in this order"),
        (("--model", "pointnet_cls", "--features", "xyz,colour"), "features"),
        (("--model", "pointnet_cls", "--sampling", "best"), "sampling"),
    ],
)
def test_what_cannot_be_is_one_line(run, file, arguments, said):
    refused = run(file, *arguments)
    assert isinstance(refused.exception, ConfigError)
    assert said in str(refused.exception)
    assert "\n" not in str(refused.exception)
