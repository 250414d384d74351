"""Laws of spaces that choose the recipe: each trial is one of its recipe's own space, and what cannot be is refused."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_config import Adam, Sgd, Toy

from search_spaces.space import SearchSpace, load_space
from search_spaces.stored import stored_space
from ssl_core.config import Config
from ssl_core.errors import ConfigError, SpaceError


class Other(Config):
    optimizer: Adam | Sgd = Sgd(lr=0.05)
    margin: float = 5.0
    width: int = 8
    kind: str = "plain"
    depth: int = 1


CONFIGS: dict[str, Config] = {"toy": Toy(), "other": Other()}


def preset(place: str, name: str) -> Config:
    known = place.rpartition("/")[2].partition(".")[0]
    if known not in CONFIGS or name != "quick":
        raise ConfigError(f"unknown recipe or preset '{place}/{name}'")
    return CONFIGS[known]


SPACE: dict[str, Any] = {
    "optimizer.lr": {"log": [1e-5, 1e-1]},
    "margin": {"float": [0, 9]},
    "toy": {
        "beta": {"float": [0, 5]},
        "optimizer.kind": {"choice": ["adam", "sgd"]},
        "optimizer.momentum": {"float": [0, 0.9], "when": {"optimizer.kind": "sgd"}},
    },
    "other": {"width": {"int": [1, 9]}, "depth": {"choice": [1, 2], "when": {"kind": "plain"}}},
}


def load(folder: Path, space: Any = None, overrides: dict[str, Any] | None = None, **sections: Any) -> SearchSpace:
    path = folder / "space.yaml"
    document = {"recipe": {"choice": ["toy", "other"]}, "preset": "quick", "space": space or SPACE, **sections}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_space(path, preset, overrides)


def drawn(space: SearchSpace, seed: int) -> optuna.trial.FrozenTrial:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    space.suggest(study.ask())
    return study.trials[0]


@st.composite
def choosing(draw: st.DrawFn) -> dict[str, Any]:
    """Parts of SPACE; a condition stays only with what it names."""
    kept = {key: value for key, value in SPACE.items() if key not in CONFIGS and draw(st.booleans())}
    for section in CONFIGS:
        own = {key: value for key, value in SPACE[section].items() if draw(st.booleans())}
        if "optimizer.kind" not in own:
            own.pop("optimizer.momentum", None)
        if own:
            kept[section] = own
    return kept or {"margin": SPACE["margin"]}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(space=choosing(), seed=st.integers(0, 2**31), base=st.sampled_from([{}, {"margin": 4}, {"toy": {"epochs": 9}}]))
def test_a_trial_is_one_of_its_recipes_own_space(
    tmp_path: Path, space: dict[str, Any], seed: int, base: dict[str, Any]
) -> None:
    joint = load(tmp_path, space, base=base)
    trial = drawn(joint, seed)
    values = joint.replay(trial.params)
    chosen = values["recipe"]
    assert type(joint.configure(values)) is type(CONFIGS[chosen])
    # the same keys in a space of that recipe alone: the same trial
    common = {key: entry for key, entry in space.items() if key not in CONFIGS}
    own = {**common, **space.get(chosen, {})}
    own_base = {key: value for key, value in base.items() if key not in CONFIGS} | base.get(chosen, {})
    if not own:
        assert set(values) == {"recipe"}
    else:
        alone = load(tmp_path, own, recipe=chosen, base=own_base)
        assert alone.replay(alone.params_from(joint.own_values(values))) == joint.own_values(values)
        assert alone.configure(joint.own_values(values)) == joint.configure(values)
        assert (
            alone.base_params().items()
            == {
                joint.recipes.own_key(key, chosen): value
                for key, value in joint.base_params({"recipe": chosen}).items()
                if key != "recipe"
            }.items()
        )
    again = stored_space(joint.to_json(), [parameter.key for parameter in joint.parameters], Path("journal.log"))
    assert (again.digest, again.replay(trial.params)) == (joint.digest, values)
    assert again.recipe_of(values).name == chosen
    assert drawn(again, seed).params == trial.params
    assert joint.fixed_params(values) == trial.params


def test_every_key_takes_part_with_its_recipe_alone(tmp_path: Path) -> None:
    space = load(tmp_path)
    conditions = {parameter.key: parameter.when for parameter in space.parameters}
    assert conditions == {
        "recipe": {},
        "optimizer.lr": {},
        "margin": {},
        "toy.beta": {"recipe": ("toy",)},
        "toy.optimizer.kind": {"recipe": ("toy",)},
        "toy.optimizer.momentum": {"recipe": ("toy",), "toy.optimizer.kind": ("sgd",)},
        "other.width": {"recipe": ("other",)},
        "other.depth": {"recipe": ("other",), "other.kind": ("plain",)},
    }
    assert space.always_active() == {"recipe", "optimizer.lr", "margin"}
    assert space.base_params()["recipe"] == "toy"
    # of each recipe its own value of a common key
    assert space.base_params()["optimizer.lr"] == 1e-3
    assert space.fixed_params({"recipe": "other"})["optimizer.lr"] == 0.05
    flat = {key: entry for key, entry in SPACE.items() if key not in CONFIGS}
    flat |= {f"{section}.{key}": entry for section in CONFIGS for key, entry in SPACE[section].items()}
    assert load(tmp_path, flat).digest == space.digest, "a section is only another way to write its keys"


def test_the_recipe_may_be_set_from_outside(tmp_path: Path) -> None:
    space = load(tmp_path, overrides={"recipe": "other", "optimizer.lr": 0.01})
    assert "recipe" not in {parameter.key for parameter in space.parameters}
    assert space.presets() == [{"recipe": "other"}]
    for seed in range(5):
        values = space.replay(drawn(space, seed).params)
        assert set(values) == {"margin", "other.width", "other.depth"}
        assert space.configure(values).optimizer.lr == 0.01
    assert "toy.beta" not in {p.key for p in load(tmp_path, overrides={"toy.beta": 1.0}).parameters}
    assert load(tmp_path, base={"recipe": "other"}).base_params()["recipe"] == "other"


def test_base_and_presets_may_differ_by_recipe(tmp_path: Path) -> None:
    space = load(tmp_path, base={"margin": 1, "toy": {"margin": 2}}, preset={"toy": "quick", "other": "quick"})
    assert space.configure({"recipe": "toy"}).margin == 2, "its section wins"
    assert space.configure({"recipe": "other"}).margin == 1
    assert space.digest != load(tmp_path).digest


def test_recipes_of_files_are_called_as_those(tmp_path: Path) -> None:
    space = load(tmp_path, recipe={"choice": ["toy", "methods/other.py:RECIPE"]})
    found = space.recipe_of({"recipe": "other"})
    assert (found.name, found.place) == ("other.py:RECIPE", f"{tmp_path}/methods/other.py:RECIPE")
    assert space.recipe == "toy | other.py:RECIPE"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"recipe": {"choice": ["toy", "othr"]}}, "section 'recipe': unknown recipe or preset 'othr/quick'"),
    ({"recipe": {"choice": []}}, "section 'recipe' needs a name, or {choice"),
    ({"recipe": {"choice": ["toy"], "when": {}}}, "section 'recipe' needs a name"),
    ({"recipe": {"choice": ["toy", "methods/toy.py:RECIPE"]}}, "two of the choice are called 'toy'"),
    ({"recipe": {"choice": ["my toy", "other"]}}, "'my toy' must be of letters"),
    ({"preset": {"toy": "quick"}}, "section 'preset' has none for other; add 'other: quick'"),
    ({"preset": {"toy": "quick", "othre": "quick"}}, "section 'preset' names 'othre', did you mean 'other'"),
    ({"preset": None}, "section 'preset' is missing"),
    ({"base": {"toy": 3}}, "section 'base': section 'toy' must hold key: value pairs of that recipe, not int"),
    ({"base": {"beta": 3}}, "'beta' is a key of toy, but not of other; put it into the section 'toy'"),
    ({"base": {"recipe": "toys"}}, "section 'base': 'recipe': 'toys' is not among the choice"),
    ({"space": {"width": {"int": [1, 2]}}}, "'width' is a key of other, but not of toy; put it into the section"),
    ({"space": {"toy": {"betta": {"int": [1, 2]}}}}, "unknown key 'betta' of toy, did you mean 'beta'"),
    ({"space": {"nothing": {"int": [1, 2]}}}, "unknown key 'nothing'"),
    ({"space": {"recipe": {"choice": ["toy"]}}}, "'recipe' is searched by its own section"),
    ({"space": {"margin": {"int": [1, 2]}, "toy": {"margin": {"int": [1, 2]}}}}, "are one value of toy"),
    (
        {"space": {"optimizer": {"choice": [{"kind": "adam"}]}, "toy": {"optimizer.lr": {"log": [0.1, 0.2]}}}},
        "'toy.optimizer.lr' lies within 'optimizer'",
    ),
    ({"space": {"margin": {"int": [1, 2], "when": {"recipe": "toy"}}}}, "belongs into its section"),
    ({"space": {"margin": {"int": [1, 2], "when": {"toy.heavy": True}}}}, "belongs into its section"),
    ({"space": {"toy": {"beta": {"int": [1, 2], "when": {"other.width": 8}}}}}, "belongs into its section"),
    ({"space": {"toy": {"beta": {"int": [-1, 2]}}}}, r"'toy.beta': -1 is refused by the recipe (with recipe=toy)"),
    ({"space": {"optimizer.lr": {"float": [-1, 2]}}}, r"'optimizer.lr': -1.0 is refused by the recipe"),
]


@pytest.mark.parametrize(("sections", "text"), WRONG, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_what_cannot_be_searched_is_named(tmp_path: Path, sections: dict[str, Any], text: str) -> None:
    with pytest.raises(SpaceError) as found:
        load(tmp_path, sections.pop("space", SPACE), **sections)
    assert text in str(found.value)
    assert "space.yaml" in str(found.value)


def test_points_by_hand_name_their_recipe(tmp_path: Path) -> None:
    space = load(tmp_path)
    with pytest.raises(SpaceError, match=r"'other\.width' takes no part in this point"):
        space.fixed_params({"other.width": 3})
    with pytest.raises(SpaceError, match=r"'recipe': 'othr' is outside \{toy, other\}"):
        space.fixed_params({"recipe": "othr"})
    with pytest.raises(SpaceError, match=r"'recipe': \['toy'\] is outside"):
        space.fixed_params({"recipe": ["toy"]})
    with pytest.raises(SpaceError, match=r"'width' is not searched, did you mean 'other\.width'"):
        space.fixed_params({"recipe": "other", "width": 3})
    assert space.replay(space.fixed_params({"recipe": "other", "other.width": 3}))["other.width"] == 3


def test_a_key_named_like_a_recipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(Config):
        recipe: int = 1
        margin: int = 1

    monkeypatch.setitem(CONFIGS, "named", Named())
    with pytest.raises(SpaceError, match="'recipe' is a key of named too"):
        load(tmp_path, {"margin": {"int": [1, 2]}}, recipe={"choice": ["toy", "named"]})
