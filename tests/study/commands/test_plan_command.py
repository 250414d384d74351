"""`splatsweep plan`: refuses first, probes then, and says the same to people and scripts."""

import json
import sys

import pytest
from typer.testing import CliRunner

from ssl_core.errors import InfeasibleError, SpaceError
from study.commands.cli import app

SPACE = """
recipe: cross_modal
preset: quick
base: {image.image_size: 24, points.num_points: 64, training.epochs: 5, validation.labels_per_class: 2,
       validation.label_draws: 2, validation.views: 2, training.batch_size: 6}
study: {trials: 6, metric: val/probe, concurrency: 2, scheduler: {kind: asha, grace: 1, reduction: 3}}
space:
  points.num_points: {choice: [32, 64]}
  loss.beta: {log: [0.1, 3]}
"""


@pytest.fixture
def space(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def invoke(*words):
    return CliRunner().invoke(app, ["plan", *map(str, words)])


def test_an_impossible_space_costs_no_probe(space, tiny_pack):
    space.write_text(SPACE.replace("[32, 64]", "[32, 5000]"))
    found = invoke(space, "--pack", tiny_pack.path)
    assert isinstance(found.exception, InfeasibleError)
    assert "5000" in str(found.exception)
    space.write_text(SPACE.replace("loss.beta", "loss.bet"))
    assert isinstance(invoke(space, "--pack", tiny_pack.path).exception, SpaceError)
    assert not (space.parent / "home").exists(), "nothing was begun"


@pytest.mark.slow
def test_plan_predicts_and_leaves_nothing_behind(space, tiny_pack, ray_two):
    words = (space, "--pack", tiny_pack.path, "--probe-epochs", 2, "--probe-configurations", 2)
    found = invoke(*words, "--json", "--trials", 4)
    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    assert facts["trials"]["middle"] == 4
    assert 4 <= facts["epochs"]["middle"] <= 20
    assert 0 < facts["hours"]["low"] <= facts["hours"]["middle"] <= facts["hours"]["high"] < 1
    assert facts["gpu_hours"]["high"] == 0 or facts["slots"] >= 1
    assert facts["disk_bytes"] > 1e6
    assert facts["memory_bytes"] > 1e8
    assert {one["values"]["points.num_points"] for one in facts["probe"]["configurations"]} == {32, 64}
    assert list((space.parent / "home").iterdir()) == []
    over = invoke(*words, "--fail-over", 0)
    assert over.exit_code == 1
    assert "8 of 10 lie between" in over.output
    assert "mlflow" not in sys.modules or not (space.parent / "home/mlflow.db").exists()
