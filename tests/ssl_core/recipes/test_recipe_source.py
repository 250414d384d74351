"""Recipes by what a space file calls them: ours, a file, a module; each error names the file and what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search_spaces.space import load_space
from ssl_core.errors import ConfigError
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.recipe_source import RecipeSource, preset_at, recipe_source

ROOT = Path(__file__).resolve().parents[3]
OWN = """
from ssl_core.config import Config
from ssl_core.training.contract import Recipe

class Mine(Config):
    size: int = {size}

RECIPE = Recipe("mine", "Mine", Mine, {{"quick": Mine}}, object, (), lambda *_: None, None)
"""


def own(folder, size=3, name="my_recipe.py"):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(OWN.format(size=size))
    return file


def space(folder, recipe="my_recipe.py:RECIPE"):
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({"recipe": recipe, "preset": "quick", "space": {"size": {"int": [1, 4]}}}))
    return file


def test_ours_is_a_name():
    source = recipe_source("cross_modal")
    assert source == RecipeSource(name="cross_modal")
    assert source.load() is CROSS_MODAL
    with pytest.raises(ConfigError, match="did you mean 'cross_modal'"):
        recipe_source("cross_model").load()


def test_a_file_is_found_beside_its_space_from_anywhere(tmp_path, monkeypatch):
    own(tmp_path / "lab" / "methods")
    monkeypatch.chdir(tmp_path)
    loaded = load_space(space(tmp_path / "lab", "methods/my_recipe.py:RECIPE"), preset_at)
    assert loaded.recipe == "my_recipe.py:RECIPE"
    assert loaded.base_config.size == 3
    source = recipe_source(loaded.recipe_of({}).place)
    assert source.load().name == "mine"
    moved = own(tmp_path / "elsewhere")
    assert recipe_source(f"{moved}:RECIPE") == source, "the text decides, not the place"
    assert load_space(space(tmp_path / "elsewhere"), preset_at).digest == loaded.digest


def test_an_edited_file_is_another_recipe(tmp_path):
    before = recipe_source(f"{own(tmp_path)}:RECIPE")
    after = recipe_source(f"{own(tmp_path, size=5)}:RECIPE")
    assert before.source_digest != after.source_digest
    assert before.load().config().size == 3, "each is loaded from the text it was found with"
    assert after.load().config().size == 5


def test_it_is_loaded_where_the_file_is_not(tmp_path):
    sent = recipe_source(f"{own(tmp_path)}:RECIPE").to_json()
    (tmp_path / "my_recipe.py").unlink()
    load = "from ssl_core.recipes.recipe_source import RecipeSource; print(RecipeSource.from_json(input()).load().name)"
    found = subprocess.run(
        [sys.executable, "-c", load], input=sent, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "mine"


def test_an_installed_module_is_checked_by_its_text(tmp_path, monkeypatch):
    own(tmp_path, name="lab_recipe_of_a_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    source = recipe_source("lab_recipe_of_a_test:RECIPE")
    assert source.text == ""
    assert source.load().name == "mine"
    with pytest.raises(ConfigError, match="is not the one that the study began with"):
        source.model_copy(update={"source_digest": "0" * 16}).load()
    with pytest.raises(ConfigError, match=r"'no_such_lab.recipes' cannot be imported"):
        recipe_source("no_such_lab.recipes:RECIPE")


def test_an_installed_package_is_checked_by_all_its_files(tmp_path, monkeypatch):
    own(tmp_path / "lab_package_of_a_test", name="parts.py")
    (tmp_path / "lab_package_of_a_test/__init__.py").write_text("from lab_package_of_a_test.parts import RECIPE\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = recipe_source("lab_package_of_a_test:RECIPE")
    assert source.load().name == "mine"
    own(tmp_path / "lab_package_of_a_test", size=5, name="parts.py")
    assert recipe_source("lab_package_of_a_test:RECIPE").source_digest != source.source_digest


@pytest.mark.parametrize(
    ("text", "attribute", "words"),
    [
        ("import no_such_library", "RECIPE", r"wrong.py: .* \(ModuleNotFoundError: .*no_such_library.*line 1"),
        ("x = 1\ndef f(:", "RECIPE", r"SyntaxError.*line 2"),
        ("from ssl_core.training.contract import Recipe\nR = Recipe('mine')", "R", r"missing .*'outputs'.*line 2"),
        (OWN.format(size=1), "RECIPES", r"wrong.py: 'RECIPES' is no recipe there; it has RECIPE"),
        ("RECIPE = 3", "RECIPE", r"it has no `ssl_core.training.contract.Recipe` at all"),
        (OWN.format(size=1).replace('"mine"', '"My Recipe"'), "RECIPE", r"name 'My Recipe' must be of a-z"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, attribute, words):
    (tmp_path / "wrong.py").write_text(text)
    with pytest.raises(ConfigError, match=words):
        recipe_source(f"{tmp_path / 'wrong.py'}:{attribute}").load()


def test_an_absent_file_and_an_unknown_preset_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.py: cannot be read as a recipe .*relative to the space file"):
        load_space(space(tmp_path, "absent.py:RECIPE"), preset_at)
    with pytest.raises(ConfigError, match="unknown preset 'paper' of mine; choose one of quick"):
        preset_at(f"{own(tmp_path)}:RECIPE", "paper")
