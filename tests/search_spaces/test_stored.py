"""A stored space suggests like the original, and config values become the params they were."""

import json
from pathlib import Path

import optuna
import pytest
from test_space import SPACE, load

from search_spaces.stored import in_stored_order, stored_space
from ssl_core.errors import SpaceError


def drawn(space, seed: int) -> optuna.trial.FrozenTrial:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    space.suggest(trial)
    return study.trials[trial.number]


def test_a_stored_space_is_the_original(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    order = [parameter.key for parameter in space.parameters]
    again = stored_space(space.to_json(), order, Path("journal.log"))
    assert again.digest == space.digest
    assert again.base_params() == space.base_params()
    for seed in range(20):
        trial = drawn(space, seed)
        assert drawn(again, seed).params == trial.params
        assert again.replay(trial.params) == space.replay(trial.params)


def test_the_digest_of_a_space_of_one_recipe_stays(tmp_path: Path) -> None:
    """Studies that were begun before a space could choose the recipe go on."""
    space = load(tmp_path, SPACE, base={"margin": 3.0})
    assert space.digest == "ff4e0debbe68eeb8"
    assert list(json.loads(space.to_json())) == ["base", "recipe", "space"]
    assert json.loads(space.to_json())["recipe"] == "toy"
    assert json.loads(space.to_json())["base"]["margin"] == 3.0


def test_values_give_the_params_back(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    for seed in range(20):
        params = drawn(space, seed).params
        assert space.params_from({**space.replay(params), "beta": 1.0}) == pytest.approx(params)
    with pytest.raises(SpaceError, match="no value for 'optimizer"):
        space.params_from({"points.features": ["xyz"], "points.num_points": 64})
    with pytest.raises(SpaceError, match=r"'points.num_points': 65 is outside int \[64, 512\]"):
        space.params_from({**space.replay(drawn(space, 1).params), "points.num_points": 65})


def test_another_order_is_the_same_space(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    order = [parameter.key for parameter in space.parameters]
    turned = load(tmp_path, dict(reversed(SPACE.items())))
    assert turned.digest == space.digest
    assert [parameter.key for parameter in in_stored_order(turned, order).parameters] == order
    assert in_stored_order(space, order) is space


def test_what_is_no_stored_space_is_named(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    for text in (
        "{",
        "{}",
        '{"space": 3, "base": {}, "recipe": "r"}',
        '{"space": {"a": {}}, "base": {}, "recipe": "r"}',
    ):
        with pytest.raises(SpaceError, match=r"journal.log: the stored search space cannot be read"):
            stored_space(text, [], Path("journal.log"))
    with pytest.raises(SpaceError, match="different parameters"):
        stored_space(space.to_json(), ["x"], Path("journal.log"))
