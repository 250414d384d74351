"""A method of the user's own from a file outside the tree: searched, continued, registered; the examples are run."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from inline_driver import run_inline
from typer.testing import CliRunner

from registry.tracking.run_log import open_run_log
from registry.versions.store import EncoderStore
from ssl_core.data.object_pack import Pack
from ssl_core.errors import StudyError
from study.cluster.submission import _space_inside
from study.commands.cli import app
from study.engine.ledger import open_ledger, read_ledger, study_tags
from study.forecast.predict import stage_forecast
from study.record.config_file import ConfigFile
from study.registration.assess import register_trial
from study.registration.rerun import rerun
from study.registration.sweep import Request, plan_study, print_study
from study.run.mirror_process import MirrorProcess
from study.run.trial_opener import keep_sources
from study.spec.outcome import Outcome
from study.spec.trial_request import TrialRequest
from study.workers.trial_runner import TrialRunner

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder far from the clone with the examples in it, and a home of its own."""
    folder = tmp_path / "lab"
    folder.mkdir()
    for file in EXAMPLES.glob("own_*"):
        shutil.copy(file, folder)
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(folder)
    torch.set_num_threads(1)
    return folder


def request(name: str, pack: Pack, **overrides: object) -> Request:
    return Request(Path(f"{name}.yaml"), pack.path, name, trials=2, concurrency=1, overrides=overrides)


@pytest.mark.slow
def test_the_example_recipe_is_searched_and_registered(lab: Path, tiny_pack: Pack) -> None:
    small = {"points.num_points": 32, "training.epochs": 2, "training.batch_size": 6}
    plan, opener, _ = plan_study(request("own_recipe", tiny_pack, **small))
    assert plan.spec.metric == "val/agreement", "of the recipe's output, as the file names none"
    assert plan.identity.recipe == "own_recipe.py:RECIPE"
    assert study_tags(plan.identity, {})["splatsweep.recipe_digest"] == opener.source_digest
    keep_sources(opener, plan.folder)
    (lab / "own_recipe.py").unlink()  # from here on, only what was sent is there
    with open_run_log(None, lab.parent / "home") as log:
        ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
        ledger.set_attr("facts", dict(plan.facts))
        run_inline(plan, slots=1, callbacks=[ConfigFile(plan.folder, plan.space)])
        ledger.refresh()
        assert MirrorProcess(log, ledger, print).leave(120.0) == 0
        records = read_ledger(plan.folder).records()
        done = next(record for record in records if record.outcome is Outcome.COMPLETE)
        versions = register_trial(plan, opener, done, EncoderStore(log))
        assert [version.name for version in versions] == ["agreement-points"]
        assert register_trial(plan, opener, done, EncoderStore(log)) == versions, "registered once"
        again = rerun(EncoderStore(log), versions[0].reference, lab.parent / "home", pack=str(tiny_pack.path))
        assert again.bit_equal, again.verdict
        (plan.folder / "recipe.json").unlink()
        with pytest.raises(StudyError, match=r"recipe.json: .* holds the recipe own_recipe.py:RECIPE; bring it back"):
            rerun(EncoderStore(log), versions[0].reference, lab.parent / "home", pack=str(tiny_pack.path))


def test_an_edited_recipe_does_not_continue_the_study(lab: Path, tiny_pack: Pack) -> None:
    plan, _, _ = plan_study(request("own_session", tiny_pack))
    open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    with (lab / "own_session.py").open("a") as stream:
        stream.write("\n# another thought\n")
    edited, _, _ = plan_study(request("own_session", tiny_pack))
    with pytest.raises(StudyError, match="with another text of its recipe"):
        open_ledger(edited.folder, edited.identity, edited.spec, edited.space)


def test_the_example_session_is_minimised_and_continued(
    lab: Path, tiny_pack: Pack, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, _, _ = plan_study(request("own_session", tiny_pack))
    assert (plan.spec.metric, plan.spec.direction) == ("val/distance", "minimize")
    plan = replace(plan, spec=plan.spec.model_copy(update={"first_is_base": False}))
    runner = TrialRunner(plan.open_session, plan.spec.metric, plan.spec.direction)
    whole, halves = (TrialRequest(number=n, seed=5, folder=str(lab / f"trials/{n}")) for n in (0, 1))
    runner.begin(whole)
    reports = [runner.step() for _ in range(4)]
    assert reports[-1].best_value == min(report.metrics["val/distance"] for report in reports)
    runner.begin(halves)
    runner.step()
    runner.begin(halves.model_copy(update={"reported_epoch": 1}))
    assert [runner.step().metrics for _ in range(3)] == [report.metrics for report in reports[1:]]
    run_inline(plan, slots=1)
    values = {record.number: record.best_value for record in read_ledger(plan.folder).records()}
    assert read_ledger(plan.folder).records()[0].outcome is not None
    assert len(values) == 2
    summary = SimpleNamespace(interrupted=False, was_finished=False)
    print_study(plan, summary, [], request("own_session", tiny_pack))
    told = capsys.readouterr().out
    assert "best of 2 trials" in told
    assert "registered" not in told, "it exports nothing"


STAGED = """
import time
from ssl_core.config import Config
from ssl_core.training.contract import Recipe, Stage

class Teacher(Config):
    width: int = 4

class Staged(Config):
    teacher: Teacher = Teacher()
    beta: float = 1.0
    epochs: int = 2

def make(config, data, folder, device):
    time.sleep(0.3)
    (folder / "width").write_text(str(config.teacher.width))

class Session:
    def __init__(self, config, data, stages, seed):
        self.epoch, self.epochs = 0, config.epochs
        self.width = int((stages["teacher"] / "width").read_text())
    def run_epoch(self):
        self.epoch += 1
        return {"val/x": float(self.width)}
    def save(self, folder):
        folder.mkdir(parents=True)
        (folder / "epoch").write_text(str(self.epoch))
    def load(self, folder, transfer=False):
        self.epoch = int((folder / "epoch").read_text())
    def export(self, folder, lineage):
        return {}

STAGE = Stage("teacher", lambda config: config.teacher, make)
RECIPE = Recipe("staged", "", Staged, {"quick": Staged}, object, (), lambda *_: None, Session, (STAGE,))
"""


def test_a_stage_is_told_beforehand_made_once_and_no_training(lab: Path, tiny_pack: Pack) -> None:
    (lab / "staged.py").write_text(STAGED)
    space = {"recipe": "staged.py:RECIPE", "preset": "quick", "study": {"metric": "val/x"}}
    (lab / "staged.yaml").write_text(yaml.safe_dump({**space, "space": {"beta": {"float": [0, 1]}}}))
    plan, opener, _ = plan_study(request("staged", tiny_pack))
    assert stage_forecast(plan.space, opener) == {"teacher": "will be made once, by the first trial that needs it"}
    runner = TrialRunner(plan.open_session, "val/x", "maximize")
    runner.begin(TrialRequest(number=0, folder=str(lab / "trial")))
    assert runner.step().seconds < 0.2, "the stage's time is not the trial's training"
    assert stage_forecast(plan.space, opener) == {"teacher": "made already"}
    assert len([place for place in (lab.parent / "home/derived").iterdir() if place.is_dir()]) == 1
    (lab / "staged.yaml").write_text(yaml.safe_dump({**space, "space": {"teacher.width": {"int": [4, 8]}}}))
    plan, opener, _ = plan_study(request("staged", tiny_pack))
    assert stage_forecast(plan.space, opener)["teacher"].startswith("depends on searched keys; 1 of 2")


def test_the_recipe_travels_with_a_submitted_study(lab: Path, tmp_path: Path) -> None:
    (lab / "methods").mkdir()
    (lab / "own_recipe.py").rename(lab / "methods/own_recipe.py")
    (lab / "spaces").mkdir()
    text = (lab / "own_recipe.yaml").read_text().replace("own_recipe.py:", "../methods/own_recipe.py:")
    (lab / "spaces/mine.yaml").write_text(text)
    tree = tmp_path / "tree"
    assert _space_inside(lab / "spaces/mine.yaml", tree) == "submitted/spaces/mine.yaml"
    assert (tree / "submitted/methods/own_recipe.py").is_file()
    assert _space_inside(EXAMPLES / "own_recipe.yaml", EXAMPLES.parent) == "examples/own_recipe.yaml"
    (lab / "spaces/mine.yaml").write_text(text.replace("../methods", str(lab / "methods")))
    with pytest.raises(StudyError, match="name it relative to the space file"):
        _space_inside(lab / "spaces/mine.yaml", tree)


def test_train_takes_a_recipe_of_ones_own(lab: Path, tiny_pack: Pack) -> None:
    words = [
        "train",
        "--pack",
        str(tiny_pack.path),
        "--out",
        "one",
        "--recipe",
        "own_session.py:RECIPE",
        "--set",
        "epochs=2",
    ]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert len((lab / "one/metrics.jsonl").read_text().splitlines()) == 2
