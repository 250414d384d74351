"""A study that chooses the recipe: ours or one from a file, compared by one metric, each registered as its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from registry.tracking.run_log import open_run_log
from registry.versions.store import EncoderStore
from search_spaces.space import load_space
from ssl_core.data.object_pack import Pack
from ssl_core.errors import SpaceError, StudyError
from ssl_core.recipes.recipe_source import preset_at
from study.engine.ledger import open_ledger, read_ledger
from study.forecast.columns import Columns
from study.forecast.landscapes import base_values, longest
from study.forecast.predict import stage_forecast
from study.registration.rerun import rerun
from study.registration.sweep import Request, plan_study
from study.run.recipe_checks import checked_spec
from study.run.trial_opener import keep_sources
from tests.journeys import Journey

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
OURS = ["cross_modal", "multiview_contrast"]
BASE: dict[str, Any] = {
    "points.num_points": 32,
    "training.epochs": 2,
    "training.batch_size": 6,
    "validation.label_draws": 2,
    "validation.labels_per_class": 2,
    "validation.views": 2,
    "cross_modal": {"image.image_size": 16},
    "multiview_contrast": {"heads.hidden": 16, "teacher.network.image_size": 32, "teacher.views": 2},
}
COMMON: dict[str, Any] = {"training.optimizer.lr": {"log": [3.0e-4, 3.0e-3]}}
SPACE: dict[str, Any] = {
    **COMMON,
    "cross_modal": {"loss.beta": {"log": [0.3, 3]}},
    "multiview_contrast": {
        "loss.global_loss": {"choice": ["cosine", "mse"]},
        "points.features": {"choice": [["xyz"], ["xyz", "normals"]]},
    },
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path


def request(lab: Path, pack: Pack, **sections: Any) -> Request:
    study = {"trials": 4, "metric": "val/points_probe", "sampler": {"kind": "random"}}
    document = {"recipe": {"choice": OURS}, "preset": "quick", "base": BASE, "study": study, "space": SPACE}
    study |= sections.pop("study", {})
    (lab / "joint.yaml").write_text(yaml.safe_dump({**document, **sections}, sort_keys=False))
    return Request(lab / "joint.yaml", pack.path, "joint")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_recipe_trains_and_is_registered_under_its_own_names(lab: Path, tiny_pack: Pack) -> None:
    """On Ray, from the command to the gate; the models of one are trained again to the bit."""
    both = {"enqueue": [{"recipe": recipe} for recipe in OURS], "first_is_base": False, "top_k": 2, "trials": 2}
    request(lab, tiny_pack, study={**both, "scheduler": {"kind": "none"}})
    journey = Journey(lab, home="home")
    words = ["--pack", tiny_pack.path, "--name", "joint", "--concurrency", 1, "--json"]
    facts = json.loads(journey.run("sweep", "joint.yaml", *words))
    folder = lab / "home/studies/joint"
    records = read_ledger(folder).records()
    assert facts["outcomes"] == {"COMPLETE": 2}
    assert [record.values["recipe"] for record in records] == OURS
    assert json.loads(journey.run("replay", "joint", "--json"))["exact"]
    assert {(item["trial"], item["name"]) for item in facts["encoders"]} == {
        (number, f"{recipe.replace('_', '-')}-{output}")
        for number, recipe in enumerate(OURS)
        for output in ("points", "image")
    }
    assert all(item["decision"] for item in facts["encoders"])
    assert [one["trials"] for one in facts["recipes"]] == [1, 1]
    best = max(record.best_value for record in records)
    assert facts["recipes"][0]["best"] == best
    says = f"{facts['recipes'][0]['recipe']} has the best val/points_probe: {best:.4g}"
    assert says in (folder / "report.html").read_text()
    with open_run_log(None, lab / "home") as log:
        store = EncoderStore(log)
        for recipe in OURS:
            version = store.list(f"{recipe.replace('_', '-')}-points")[0]
            assert version.lineage.recipe == recipe
            assert log.find_run(version.lineage.run_id).data.tags["splatsweep.recipe"] == recipe
            again = rerun(store, version.reference, lab / "home", pack=str(tiny_pack.path))
            assert again.bit_equal, again.verdict


def test_a_recipe_of_a_file_may_be_among_the_choice(lab: Path, tiny_pack: Pack) -> None:
    """It is compared where it says how it measures, travels with its text, and is kept with the study."""
    own = (EXAMPLES / "own_recipe.py").read_text()
    (lab / "own_recipe.py").write_text(own)
    sections: dict[str, Any] = {
        "recipe": {"choice": ["cross_modal", "own_recipe.py:RECIPE"]},
        "base": {"training.epochs": 2, "points.num_points": 32},
        "space": {**COMMON, "own_recipe": {"temperature": {"log": [0.1, 1]}}},
    }
    with pytest.raises(SpaceError, match=r"`Recipe\.measures` of own_recipe does not name it"):
        plan_study(request(lab, tiny_pack, **sections))
    measures = "measures={'val/points_probe': lambda config: FewShotConfig()}"
    own = own.replace("check, start)", f"check, start, {measures})")
    (lab / "own_recipe.py").write_text(f"from ssl_core.evaluation.few_shot import FewShotConfig\n{own}")
    plan, opener, _ = plan_study(request(lab, tiny_pack, **sections))
    assert plan.identity.recipe == "cross_modal | own_recipe.py:RECIPE"
    assert plan.identity.recipe_digest == opener.source_digest != ""
    (lab / "own_recipe.py").unlink()
    assert opener.recipe_of({"recipe": "own_recipe"}).name == "agreement"
    assert opener.config({"recipe": "own_recipe", "own_recipe.temperature": 0.5}).temperature == 0.5
    keep_sources(opener, plan.folder)
    assert [file.name for file in plan.folder.glob("recipe*")] == ["recipe-own_recipe.json"]


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"base": {**BASE, "multiview_contrast": {"validation.labels_per_class": 3}}},
        r"'val/points_probe' is measured in two ways.*set them alike under 'base'",
    ),
    (
        {"space": {**SPACE, "validation.label_draws": {"choice": [2, 3]}}},
        r"'val/points_probe' is measured in two ways.*with recipe=cross_modal, validation.label_draws=3",
    ),
    (
        {"study": {"metric": "val/matching_accuracy"}},
        r"measures` of cross_modal and multiview_contrast does not name it; all of them report val/points",
    ),
    (
        {"study": {"objectives": [{"metric": "val/points_probe"}, {"metric": "val/distance_ratio"}]}},
        r"'val/distance_ratio' cannot compare the recipes",
    ),
    (
        {"base": {**BASE, "validation.views": 3}, "study": {"metric": "val/image_probe"}},
        r"'val/image_probe' is measured in two ways.*\"teacher_views\":2",
    ),
    (
        {"study": {"scheduler": {"kind": "pbt", "perturb": ["training.optimizer.lr"]}}},
        r"PBT lets a trial go on from another's weights, and those of cross_modal \| multiview_contrast do not fit",
    ),
]


@pytest.mark.parametrize(("sections", "text"), WRONG, ids=range(len(WRONG)))
def test_what_compares_nothing_is_refused(lab: Path, tiny_pack: Pack, sections: dict[str, Any], text: str) -> None:
    with pytest.raises(SpaceError, match=text):
        plan_study(request(lab, tiny_pack, **dict(sections)))


def test_recipes_of_other_data_do_not_share_a_study(lab: Path, tiny_pack: Pack) -> None:
    text = (EXAMPLES / "own_recipe.py").read_text()
    scenes = "from ssl_core.data.scene_pack import ScenePack\n" + text.replace(" Pack, (OUTPUT", " ScenePack, (OUTPUT")
    (lab / "own_recipe.py").write_text(scenes)
    sections = {"recipe": {"choice": ["cross_modal", "own_recipe.py:RECIPE"]}, "base": {}, "space": COMMON}
    with pytest.raises(SpaceError, match=r"cross_modal reads a Pack and own_recipe a ScenePack"):
        plan_study(request(lab, tiny_pack, **sections))
    (lab / "own_recipe.py").write_text(text.replace('"agreement"', '"cross_modal"'))
    with pytest.raises(SpaceError, match="two of the recipes are called 'cross_modal'"):
        plan_study(request(lab, tiny_pack, **sections))


def test_what_a_plan_counts_knows_both_recipes(lab: Path, tiny_pack: Pack) -> None:
    longer = {**BASE, "cross_modal": {**BASE["cross_modal"], "training.epochs": 7}}
    plan, opener, _ = plan_study(
        request(lab, tiny_pack, base=longer, space={**SPACE, "cross_modal": SPACE["cross_modal"]})
    )
    roles = {parameter.key: plan.space.recipes.role(parameter.key) for parameter in plan.space.parameters}
    assert roles == {
        "recipe": "fixed", "training.optimizer.lr": "live", "cross_modal.loss.beta": "live",
        "multiview_contrast.loss.global_loss": "live", "multiview_contrast.points.features": "fixed",
    }  # fmt: skip
    assert Columns(plan.space).heavy == 2
    assert longest(plan.space, 2) == 7
    assert base_values(plan.space) is not None
    assert list(stage_forecast(plan.space, opener)) == ["multiview_contrast.teacher"]


def test_the_shipped_space_compares_what_is_measured_alike() -> None:
    space = load_space(ROOT / "search_spaces/joint_modelnet10.yaml", preset_at)
    assert checked_spec(space, {}).metric == "val/points_probe"
    assert space.replay(space.base_params())["recipe"] == space.recipes.base


def test_a_changed_choice_is_another_study(lab: Path, tiny_pack: Pack) -> None:
    plan, _, _ = plan_study(request(lab, tiny_pack))
    open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    base = {key: value for key, value in BASE.items() if key != "multiview_contrast"}
    other, _, _ = plan_study(request(lab, tiny_pack, recipe={"choice": ["cross_modal"]}, base=base, space=COMMON))
    with pytest.raises(StudyError, match="with another recipe"):
        open_ledger(other.folder, other.identity, other.spec, other.space)
