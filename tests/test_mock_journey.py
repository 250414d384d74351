"""A recipe that shares nothing with ours but the contract walks the whole road through the command line.

In a copy of the tree, as a further recipe of this project would stand there: its folder under `ssl_core/recipes`, its
file of `search_spaces`, one line of the tuple (and the import of its name). Recipes outside the tree have other tests
(`tests/study/run/test_own_recipe.py`).
"""

import json
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from registry.pull import load
from ssl_core.data.scene_pack import ScenePack
from tests.contracts.mock_recipe import MOCK_RECIPE
from tests.journeys import Journey
from tests.small_sets import write_scene

# minutes of exports of fields; what it asks of registry and tasks is asked of the mock recipe in tests/contracts, too
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[1]
MOCK = ROOT / "tests/contracts/mock_recipe"
MODEL = "mock-recipe-field"


def copied_tree(tree: Path) -> Path:
    """A copy of our packages with the mock recipe in it."""
    for package in ("ssl_core", "search_spaces", "registry", "study"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    folder, recipes = tree / "ssl_core/recipes/mock_recipe", tree / "ssl_core/recipes/__init__.py"
    folder.mkdir()
    for file in MOCK.glob("*.*"):
        text = file.read_text().replace("tests.contracts.mock_recipe", "ssl_core.recipes.mock_recipe")
        (tree / "search_spaces" if file.suffix == ".yaml" else folder).joinpath(file.name).write_text(text)
    text = recipes.read_text()
    assert text.count("...] = (") == text.count("from ssl_core.training.contract import") == 1
    text = text.replace("...] = (", "...] = (MOCK_RECIPE, ")
    imported = "from ssl_core.recipes.mock_recipe import MOCK_RECIPE\n"
    recipes.write_text(text.replace("from ssl_core.training.contract", f"{imported}from ssl_core.training.contract"))
    return tree


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mock")
    made = Journey(folder, copied_tree(folder / "tree"))
    made.space = folder / "tree/search_spaces/mock_recipe.yaml"
    write_scene(folder / "scene")
    made.run("pack", "--scene", "scene", "--out", "pack", "--holdout", 4)
    return made


@pytest.fixture(scope="module")
def planned(journey):
    """Before the study: as JSON."""
    words = ("--probe-epochs", 2, "--probe-configurations", 1, "--concurrency", 1, "--json")
    return json.loads(journey.run("plan", journey.space, "--pack", "pack", "--name", "field", *words))


@pytest.fixture(scope="module")
def swept(journey, planned):
    """The study, run once; its JSON summary."""
    words = ("--pack", "pack", "--name", "field", "--concurrency", 1, "--json")
    return json.loads(journey.run("sweep", journey.space, *words))


def test_plan_shows_the_stage(planned):
    assert planned["stages"] == {"pictures": "will be made once, by the first trial that needs it"}
    assert planned["trials"]["middle"] == 3


def test_a_study_of_it_ends_with_a_champion(swept, journey):
    assert sum(swept["outcomes"].values()) == 3
    values = [trial["val/mse"] for trial in swept["best"]]
    assert values == sorted(values), "the smallest error leads"
    assert {item["name"] for item in swept["encoders"]} == {MODEL}
    assert [item["status"] for item in swept["encoders"]].count("champion") == 1
    for item in swept["encoders"]:
        assert item["headline"].startswith("PSNR ")
        assert item["decision"]
    derived = [place.name for place in (journey.folder / "runs/derived").iterdir() if place.is_dir()]
    assert len(derived) == 1, "made once for all trials"
    assert derived[0].startswith("mock_recipe-pictures-")


def test_what_tells_of_studies_tells_of_it(swept, journey):
    leader = swept["best"][0]["trial"]
    status, words, why, _ = journey.several(
        ("status", "field", "--json"),
        ("status", "field"),
        ("why", "field", leader),
        ("report", "field", "--out", "report.html"),
    )
    assert json.loads(status)["state"] == "finished"
    for text in (words, why, (journey.folder / "report.html").read_text()):
        assert "val/mse" in text


def test_what_tells_of_models_tells_of_it_and_a_pulled_one_renders(swept, journey):
    champion = f"{MODEL}@champion"
    listed, told, page, found, origin, _ = journey.several(
        ("models", "--json"),
        ("history", MODEL, "--json"),
        ("history", MODEL),
        ("evaluate", champion, "--pack", "pack", "--protocol", "full", "--json"),
        ("lineage", champion, "--json"),
        ("pull", champion, "--to", "pulled"),
    )
    assert {(version["name"], version["kind"]) for version in json.loads(listed)} == {(MODEL, "scene_field")}
    history, evaluation = json.loads(told), json.loads(found)
    assert history["sound"]
    assert history["champion"] == history["by_ledger"]
    assert "dB" in page
    assert evaluation["complete"]
    assert len(evaluation["rows"]) == 6
    assert json.loads(origin)["version"]["lineage"]["recipe"] == "mock_recipe"
    model, scene = load(journey.folder / "pulled"), ScenePack.open(journey.folder / "pack")
    view = int(scene.views("test")[0])
    (drawn,) = model.render(scene.camera(view))
    truth = scene.image(view) / 255
    assert np.square(drawn.image.numpy() - truth).mean() < truth.var()


def test_the_house_stands_with_it(journey, monkeypatch):
    """Rooms, imports and what every recipe must have, checked in the copy."""
    tests = journey.folder / "tree/tests"
    tests.mkdir()
    layers, house = (_copied_tests(tests, name) for name in ("test_layers.py", "test_house.py"))
    assert "ssl_core.recipes.mock_recipe.trial" in layers.FILES
    layers.test_rooms_import_only_from_rooms_below_them()
    layers.test_no_files_stand_in_a_circle()
    layers.test_a_file_and_a_class_are_found_by_their_names()
    layers.test_recipes_never_import_each_other()
    house.test_a_recipe_is_complete(MOCK_RECIPE)
    monkeypatch.setattr(house, "RECIPES", (*house.RECIPES, MOCK_RECIPE))
    house.test_every_folder_under_recipes_is_listed()


def _copied_tests(folder: Path, name: str) -> ModuleType:
    """They look at the tree in which they lie."""
    spec = spec_from_file_location(f"copied_{name[:-3]}", shutil.copy(ROOT / "tests" / name, folder))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
