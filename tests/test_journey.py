"""The whole road on a small procedural set, through the command line, with real Ray, Optuna and MLflow."""

import json
import sys

import pytest
import torch

from registry.tracking.embedded_store import embedded_address
from study.commands.cli import main
from tests.journeys import Journey

STRANGE = "work%2Fspace 100% ?a=1#top;'\"&$é"
"""As a home may be called: Jenkins names workspaces after branches."""
SPACE = """
recipe: cross_modal
preset: quick
base:
  points.num_points: 64
  image.image_size: 32
  training.batch_size: 8
  training.epochs: 2
  validation: {label_draws: 2, labels_per_class: 2, point_draws: 1, views: 2, pool_per_class: 4, matching_repeats: 1}
study: {trials: 2, metric: val/probe, scheduler: {kind: asha, grace: 1}, top_k: 1, first_is_base: false}
space:
  points.features: {choice: [[xyz], [xyz, normals]]}
  loss.beta: {log: [0.5, 5]}
"""


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    made = Journey(tmp_path_factory.mktemp("journey"), home=STRANGE)
    (made.folder / "space.yaml").write_text(SPACE)
    made.run("sample", "--out", "data", "--train-per-class", "5", "--test-per-class", "2", "--views", "4",
             "--image-size", "32", "--gaussians", "200")  # fmt: skip
    made.run("pack", "--points", "data/points", "--images", "data/images", "--out", "pack")
    return made


@pytest.fixture(scope="module")
def swept(journey):
    """The study, run once; its JSON summary."""
    return journey, json.loads(journey.sweep("--json"))


@pytest.mark.timeout(1000)
def test_a_study_ends_with_judged_encoders(swept):
    journey, facts = swept
    assert sum(facts["outcomes"].values()) == 2
    assert {item["name"] for item in facts["encoders"]} == {"cross-modal-points", "cross-modal-image"}
    for item in facts["encoders"]:
        assert item["status"] in ("champion", "candidate", "refused")
        assert item["decision"]
        assert "±" in item["headline"]
    status = json.loads(journey.run("status", "small", "--json"))
    assert status["state"] == "finished"
    assert {trial["outcome"] for trial in status["trials"]} <= {"COMPLETE", "STOPPED"}
    page = journey.folder / "report.html"
    journey.run("report", "small", "--out", str(page))
    assert "small" in page.read_text()


@pytest.mark.timeout(1000)
@pytest.mark.slow
def test_again_in_a_moved_home_is_quick_and_changes_nothing(swept):
    journey, facts = swept
    before = json.loads(journey.run("models", "--json"))
    old = journey.home
    journey.environment["SPLATSWEEP_HOME"] = str(old.rename(old.with_name("moved & quoted '%41'")))
    again = json.loads(journey.sweep("--json"))
    assert again["was_finished"]
    assert again["encoders"] == facts["encoders"]
    assert json.loads(journey.run("models", "--json")) == before
    assert not old.exists()


@pytest.mark.timeout(1000)
def test_mlflow_agrees(swept):
    journey, _ = swept
    from mlflow import MlflowClient

    client = MlflowClient(embedded_address(journey.home))
    experiment = client.get_experiment_by_name("splatsweep")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = [run for run in runs if run.info.run_name == "small"]
    tags = [run.data.tags for run in runs]
    trials = [r for r, t in zip(runs, tags, strict=True) if "splatsweep.trial" in t and "splatsweep.encoder" not in t]
    assert len(parents) == 1
    assert len(trials) == 2
    assert all(run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id for run in trials)
    history = client.get_metric_history(trials[0].info.run_id, "val/probe")
    assert [point.step for point in history] == list(range(len(history)))  # 0: the untrained models


@pytest.mark.timeout(1000)
def test_a_pulled_program_runs_with_torch(swept):
    journey, _ = swept
    reference = "cross-modal-points@candidate"
    journey.run("pull", reference, "--to", "pulled")
    card = json.loads((journey.folder / "pulled/encoder.json").read_text())
    columns = 6 if "normals" in json.dumps(card) else 3
    program = torch.export.load(journey.folder / "pulled/program.pt2").module()
    assert program(torch.rand(3, 64, columns)).shape == (3, 512)


@pytest.mark.timeout(1000)
def test_bad_requests_are_one_line(swept, tmp_path, monkeypatch, capsys):
    journey, _ = swept
    cases = {
        "no registered encoder 'nothing'": ("pull", "nothing@champion", "--to", "x"),
        "not a pack": ("sweep", "space.yaml", "--pack", "data"),
        "unknown key 'loss.betta'": ("sweep", "space.yaml", "--pack", "pack", "--set", "loss.betta=1"),
        "at least one trial": ("sweep", "space.yaml", "--pack", "pack", "--trials", "0"),
        "num_points 99999": ("sweep", "space.yaml", "--pack", "pack", "--set", "points.num_points=99999"),
        "no study": ("status", "unheard"),
        "not usable": ("status", "../up"),
    }
    # in this process: starting one for each costs more than all the rest of the test
    monkeypatch.chdir(journey.folder)
    for name, value in journey.environment.items():
        monkeypatch.setenv(name, value)
    for message, words in cases.items():
        monkeypatch.setattr(sys, "argv", ["splatsweep", *words])
        with pytest.raises(SystemExit) as left:
            main()
        text = capsys.readouterr().err
        assert left.value.code == 2, text
        assert message in text, (message, text)
        assert text.count("\n") == 1, text
    other = journey.sweep("--set", "loss.margin=1.7", code=2)
    assert "small" in other
    assert "space" in other


@pytest.mark.slow  # trains for a minute
@pytest.mark.timeout(900)
def test_the_same_command_fine_tunes_where_that_is_wanted(swept):
    """In two processes, once, and no alias moves by it."""
    journey, facts = swept
    champions = {item["name"]: item["status"] for item in facts["encoders"]}
    journey.environment |= {"SPLATSWEEP_FINE_TUNING": "15", "SPLATSWEEP_EVALUATION_WORKERS": "2"}
    tuned = json.loads(journey.sweep("--json"))["encoders"]
    for item in tuned:
        assert item["fine_tuning"].startswith(("fine-tuned, 5 per class: ", "not fine-tuned: the least of it takes"))
        assert item["status"] == champions[item["name"]]
    assert any("from scratch" in item["fine_tuning"] for item in tuned)
    listed = json.loads(journey.run("models", "--json"))
    assert {version["name"]: version["fine_tuning"] for version in listed} == {
        item["name"]: item["fine_tuning"] for item in tuned
    }
    assert json.loads(journey.sweep("--json"))["encoders"] == tuned
    assert json.loads(journey.run("models", "--json")) == listed
