"""Laws of search spaces: what is suggested can be replayed, and what cannot run is refused at load."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_config import Toy, toy_preset

from search_spaces.conditions import in_order
from search_spaces.parameter import parse_parameter
from search_spaces.space import SearchSpace, load_space
from ssl_core.config import override
from ssl_core.errors import ConfigError, SpaceError

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {
    "points.features": {"choice": [["xyz"], ["xyz", "opacity"], ["xyz", "sh_dc"]]},
    "optimizer.kind": {"choice": ["adam", "sgd"]},
    "optimizer.lr": {"log": [1e-5, 1e-1]},
    "optimizer.momentum": {"float": [0.0, 0.9], "step": 0.1, "when": {"optimizer.kind": "sgd"}},
    "optimizer.eps": {"log": [1e-9, 1e-6], "when": {"optimizer.kind": ["adam"]}},
    "points.num_points": {"int": [64, 512], "step": 64},
}


def write(folder: Path, space: Any, **sections: Any) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({"recipe": "toy", "preset": "quick", "space": space, **sections}))
    return path


def load(folder: Path, space: Any, overrides: dict[str, Any] | None = None, **sections: Any) -> SearchSpace:
    return load_space(write(folder, space, **sections), toy_preset, overrides)


def test_every_sampled_trial_is_a_config_and_is_replayed(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=5))
    for _ in range(30):
        trial = study.ask()
        values = space.suggest(trial)
        config = space.configure(values)
        assert isinstance(config, Toy)
        assert config.optimizer.kind == values["optimizer.kind"]
        assert ("optimizer.momentum" in values) == (values["optimizer.kind"] == "sgd")
        assert ("optimizer.eps" in values) == (values["optimizer.kind"] == "adam")
        study.tell(trial, values["optimizer.lr"])
        frozen = study.trials[-1]
        assert space.replay(frozen.params) == values
        assert space.suggest(optuna.trial.FixedTrial(frozen.params)) == values


CHOICE_POOLS: dict[str, list[Any]] = {
    "points.features": [["xyz"], ["opacity"], ["xyz", "opacity"], ["xyz", "sh_dc", "opacity"]],
    "optimizer.kind": ["adam", "sgd"],
    "heavy": [True, False],
    "epochs": [1, 2, 8, 16],
}
RANGES = {"beta": (0.0, 10.0), "margin": (0.0, 50.0), "points.num_points": (8, 4096)}


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    section: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from(sorted(CHOICE_POOLS)), unique=True, min_size=1)):
        picked = draw(st.lists(st.sampled_from(CHOICE_POOLS[key]), unique_by=str, min_size=1))
        section[key] = {"choice": picked}
    parents = dict(section)
    for key in draw(st.lists(st.sampled_from(sorted(RANGES)), unique=True)):
        low, high = RANGES[key]
        kind = "int" if key == "points.num_points" else draw(st.sampled_from(["float", "log"]))
        ends = st.integers(8, 4096) if kind == "int" else st.floats(low + 0.01, high, allow_subnormal=False)
        a, b = sorted(draw(st.lists(ends, unique=True, min_size=2, max_size=2)))
        section[key] = {kind: [a, b]}
        if draw(st.booleans()):
            parent = draw(st.sampled_from(sorted(parents)))
            allowed = draw(st.lists(st.sampled_from(parents[parent]["choice"]), unique_by=str, min_size=1))
            section[key]["when"] = {parent: allowed}
    keys = draw(st.permutations(list(section)))
    return {key: section[key] for key in keys}


@settings(max_examples=60, deadline=None)
@given(section=spaces(), seed=st.integers(0, 2**16))
def test_replay_equals_suggest_in_any_space(
    section: dict[str, Any], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    space = load(tmp_path_factory.mktemp("space"), section)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(3):
        values = space.suggest(study.ask())
        params = study.trials[-1].params
        assert space.replay(params) == values
        assert space.suggest(optuna.trial.FixedTrial(params)) == values
        assert space.configure(values) == override(Toy(), values)


def test_replay_refuses_params_of_another_space(tmp_path: Path) -> None:
    space = load(tmp_path, {"beta": {"float": [0, 1]}, "heavy": {"choice": [True]}})
    assert space.replay({"beta": 0.5, "heavy": True}) == {"beta": 0.5, "heavy": True}
    with pytest.raises(SpaceError, match="no value for 'heavy'"):
        space.replay({"beta": 0.5})
    with pytest.raises(SpaceError, match="outside float"):
        space.replay({"beta": 1.5, "heavy": True})
    with pytest.raises(SpaceError, match="outside"):
        space.replay({"beta": 0.5, "heavy": 1})
    with pytest.raises(SpaceError, match="takes no part"):
        space.replay({"beta": 0.5, "heavy": True, "epochs": 4})


def test_digest_covers_what_is_tried_and_not_how(tmp_path: Path) -> None:
    plain = load(tmp_path, {"beta": {"float": [0, 1]}}).digest
    assert load(tmp_path, {"beta": {"float": [0.0, 1.0]}}, study={"trials": 99}).digest == plain
    assert load(tmp_path, {"beta": {"float": [0, 2]}}).digest != plain
    assert load(tmp_path, {"beta": {"float": [0, 1]}}, base={"epochs": 5}).digest != plain
    assert load(tmp_path, {"beta": {"float": [0, 1]}}, {"epochs": 5}).digest != plain


def test_an_override_of_a_searched_key_pins_it(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE, {"optimizer.kind": "sgd"})
    values = space.suggest(optuna.create_study().ask())
    assert "optimizer.kind" not in values
    assert "optimizer.momentum" in values
    assert "optimizer.eps" not in values
    assert space.configure(values).optimizer.kind == "sgd"
    with pytest.raises(SpaceError, match="nothing is left to search"):
        load(tmp_path, {"beta": {"float": [0, 1]}}, {"beta": 0.5})


def test_the_base_config_is_a_trial_of_the_space(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    params = space.base_params()
    values = space.replay({key: value for key, value in params.items() if key != "optimizer.momentum"})
    assert space.configure(values) == Toy()
    study = optuna.create_study()
    study.enqueue_trial(params)
    assert space.configure(space.suggest(study.ask())) == Toy()


def test_numbers_in_scientific_notation_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("recipe: toy\npreset: quick\nbase: {margin: 1e1}\nspace:\n  beta: {log: [1e-4, 1E+1]}\n")
    space = load_space(path, toy_preset)
    assert space.parameters[0].domain.low == 1e-4
    assert space.base_config.margin == 10.0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"betta": {"float": [0, 1]}}, "unknown key 'betta'.*did you mean 'beta'"),
        ({"optimizer.momentun": {"float": [0, 1]}}, "did you mean 'optimizer.momentum'"),
        ({"beta": {"float": [2, 1]}}, r"'beta': impossible range \[2, 1\]"),
        ({"beta": {"float": [1, 1]}}, "impossible range"),
        ({"beta": {"float": [0, float("inf")]}}, "two finite numbers"),
        ({"beta": {"float": [0, True]}}, "two finite numbers"),
        ({"beta": {"float": [0]}}, "two finite numbers"),
        ({"beta": {"log": [0, 1]}}, "must start above 0"),
        ({"beta": {"log": [0.1, 1], "step": 0.1}}, "no step"),
        ({"beta": {"float": [0, 1], "step": 0.3}}, "whole steps"),
        ({"beta": {"float": [0, 1], "step": -1}}, "step"),
        ({"epochs": {"int": [1, 2.5]}}, "whole numbers"),
        ({"beta": {"uniform": [0, 1]}}, "unknown word 'uniform'"),
        ({"beta": {"float": [0, 1], "choice": [1]}}, "exactly one"),
        ({"beta": {}}, "exactly one"),
        ({"beta": 3}, "expected"),
        ({"beta": {"choice": []}}, "at least one value"),
        ({"beta": {"choice": [1, 1.0]}}, "appears twice"),
        ({"heavy": {"choice": [True, 1]}}, "appears twice"),
        ({"beta": {"choice": [1], "step": 1}}, "no step"),
        ({"beta": {"float": [-1, 1]}}, "'beta': -1.0 is refused by the recipe.*greater than or equal to 0"),
        ({"points.features": {"choice": [["xyz", "colour"]]}}, "refused by the recipe"),
        ({"optimizer.kind": {"choice": ["adam", "rmsprop"]}}, "unknown kind 'rmsprop'"),
        ({"optimizer.momentum": {"float": [0, 0.5]}}, "refused by the recipe"),
        (
            {
                "optimizer.kind": {"choice": ["adam", "sgd"]},
                "optimizer.eps": {"log": [1e-9, 1e-7], "when": {"optimizer.kind": ["adam", "sgd"]}},
            },
            "with optimizer.kind=sgd",
        ),
        ({"beta": {"float": [0, 1], "when": {"epoch": 4}}}, "unknown key 'epoch', did you mean 'epochs'"),
        ({"beta": {"float": [0, 1], "when": {"epochs": "many"}}}, "cannot take the value 'many'"),
        ({"beta": {"float": [0, 1], "when": {"beta": 1}}}, "its own condition"),
        ({"beta": {"float": [0, 1], "when": {}}}, "when needs"),
        ({"beta": {"float": [0, 1], "when": {"epochs": []}}}, "can never hold"),
        (
            {"beta": {"float": [0, 1]}, "margin": {"float": [0, 1], "when": {"beta": 1}}},
            "needs a choice or int key",
        ),
        (
            {"epochs": {"int": [1, 4]}, "beta": {"float": [0, 1], "when": {"epochs": 5}}},
            "never takes the value 5",
        ),
        (
            {
                "optimizer.kind": {"choice": ["adam"]},
                "beta": {"float": [0, 1], "when": {"optimizer.kind": "adm"}},
            },
            "never takes the value 'adm', did you mean 'adam'",
        ),
        (
            {
                "epochs": {"int": [1, 2], "when": {"heavy": True}},
                "heavy": {"choice": [True], "when": {"epochs": 1}},
            },
            "in a circle",
        ),
        ({}, "section 'space' is empty"),
    ],
)
def test_wrong_spaces_are_refused_with_file_key_and_remedy(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        load(tmp_path, entry)
    assert str(caught.value).startswith(str(tmp_path / "space.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "recipe: toy\npreset: quick\nspace: {beta: {float: [0, 1]}, beta: {float: [0, 2]}}",
            "'beta' is written twice",
        ),
        ("recipe: toy\npreset: quick\nspaces: {}", "unknown section 'spaces', did you mean 'space'"),
        ("preset: quick\nspace: {beta: {float: [0, 1]}}", "'recipe' is missing"),
        ("recipe: toy\npreset: quick\nspace: [beta]", "must hold key: value"),
        (
            "recipe: toy\npreset: quick\nbase: {gamma: 1}\nspace: {beta: {float: [0, 1]}}",
            "section 'base': unknown key 'gamma'",
        ),
        ("recipe: [", "not valid YAML"),
        ("just words", "expected the sections"),
        ("? [a, b]\n: 1", "plain text"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message) as caught:
        load_space(path, toy_preset)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_an_unknown_recipe(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="cannot be read"):
        load_space(tmp_path / "absent.yaml", toy_preset)
    path = write(tmp_path, {"beta": {"float": [0, 1]}}, preset="fast")
    with pytest.raises(ConfigError, match="unknown recipe or preset"):
        load_space(path, toy_preset)


def test_a_chain_of_conditions_is_evaluated_in_order(tmp_path: Path) -> None:
    space = load(
        tmp_path,
        {
            "margin": {"float": [0, 1], "when": {"epochs": [1]}},
            "epochs": {"choice": [1, 2], "when": {"heavy": True}},
            "heavy": {"choice": [True, False]},
        },
    )
    assert space.replay({"heavy": False}) == {"heavy": False}
    assert space.replay({"heavy": True, "epochs": 2}) == {"heavy": True, "epochs": 2}
    replayed = space.replay({"heavy": True, "epochs": 1, "margin": 0.5})
    assert replayed == {"heavy": True, "epochs": 1, "margin": 0.5}


def test_order_keeps_the_file_where_it_can() -> None:
    keys = ["c", "a", "b"]
    assert [p.key for p in in_order([parse_parameter(key, {"int": [0, 1]}) for key in keys])] == keys
