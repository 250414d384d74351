"""A search space: what a study may try, from a YAML file, checked against the recipe before anything runs.

    recipe: cross_modal            whose config the keys belong to, or a choice (`search_spaces.space_recipes`)
    preset: quick                  where every value that is not searched comes from
    base: {training.epochs: 12}    overrides of the preset
    study: {trials: 8, ...}        how to search (read by `study.spec.study_spec.StudySpec`; not part of the digest)
    space: {loss.beta: {log: [0.3, 10]}, ...}      see `search_spaces.parameter`

A trial is replayable: from its Optuna params alone, `replay` gives the dictionary that `suggest` gave.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from search_spaces.conditions import active, base_value, holds
from search_spaces.parameter import Parameter, contains, decode, describe, stored, suggest
from search_spaces.searched_parameters import searched_parameters
from search_spaces.space_file import read_space_file, recipe_at, recipes_written
from search_spaces.space_recipes import RECIPE, SpaceRecipe, SpaceRecipes, flattened
from ssl_core.config import Config, nearest
from ssl_core.errors import ConfigError, SpaceError

BaseConfig = Callable[[str, str], Config]
"""(place of the recipe, preset name) -> the preset's config; raises ConfigError for unknown names.

The place is the recipe's name as written; that of a file is `/absolute/path.py:NAME`.
"""


@dataclass(frozen=True)
class SearchSpace:
    """A validated space."""

    source: Path  # the file it came from, for messages
    recipes: SpaceRecipes  # whose keys are searched, with their base configs
    study: Mapping[str, Any]  # the `study` section, unchecked
    parameters: tuple[Parameter, ...]  # in an order where conditions only look back

    @property
    def recipe(self) -> str:
        """The recipe's name; of a choice all of them."""
        return self.recipes.label

    @property
    def base_config(self) -> Config:
        """Of the recipe; of a choice that of its base recipe."""
        return self.recipes.sections[self.recipes.base].config

    @property
    def digest(self) -> str:
        """16 hex digits over recipe, resolved base config and parameters: equal spaces, equal digests."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON of everything the digest covers; stored with the study."""
        recipe, base = self.recipes.stored()
        document = {
            "recipe": recipe,
            "base": base,
            "space": {p.key: p.model_dump(mode="json", exclude={"key"}) for p in self.parameters},
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """Dotted key -> config value for every key that takes part in this trial."""
        return self._walk(lambda p: suggest(p.domain, p.key, trial))

    def replay(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What `suggest` returned for the trial with these Optuna params.

        Raises:
            SpaceError: a param is missing, outside its domain, or not of this space.
        """
        used: set[str] = set()

        def recorded(parameter: Parameter) -> Any:
            if parameter.key not in params:
                raise SpaceError(f"{self.source}: the trial has no value for '{parameter.key}'; it is of another space")
            used.add(parameter.key)
            return params[parameter.key]

        values = self._walk(recorded)
        if extra := sorted(set(params) - used):
            raise SpaceError(f"{self.source}: the trial has '{extra[0]}', which takes no part in this space")
        return values

    def configure(self, values: Mapping[str, Any]) -> Config:
        """The full config of a trial. Raises ConfigError when the combination is refused by the recipe."""
        return self.recipes.config(values)

    def recipe_of(self, values: Mapping[str, Any]) -> SpaceRecipe:
        """What a trial with these values trains."""
        return self.recipes.sections[self.recipes.chosen(values)]

    def own_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the chosen recipe, by the keys of its config."""
        return self.recipes.own(values, self.recipes.chosen(values))

    def presets(self) -> list[dict[str, Any]]:
        """Values that leave a recipe as its base config is; one for each that trials may have."""
        if not self.recipes.chooses:
            return [{}]
        searched = any(parameter.key == RECIPE for parameter in self.parameters)
        return [{RECIPE: section} for section in (self.recipes.sections if searched else (self.recipes.base,))]

    def alone(self, parameter: Parameter, value: Any) -> list[dict[str, Any]]:
        """Values that set one parameter on top of a base config, of each recipe that has it."""
        if parameter.key == RECIPE and self.recipes.chooses:
            return [{RECIPE: value}]
        own = [(start, self.recipes.own_key(parameter.key, self.recipes.chosen(start))) for start in self.presets()]
        return [{**start, parameter.key: value} for start, key in own if key is not None]

    def base_params(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Optuna params of a base config, as far as the space holds it: the natural first trial.

        `values`: may choose another recipe than the base.
        """
        section = self.recipes.chosen(values or {})
        tree = self.recipes.trees[section]
        known = {
            p.key: base_value(tree, p.key)
            for p in self.parameters
            if p.key == RECIPE or self.recipes.own_key(p.key, section) is not None
        }
        domains = {p.key: p.domain for p in self.parameters if p.key in known}
        return {key: stored(domain, known[key]) for key, domain in domains.items() if contains(domain, known[key])}

    def params_from(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna params of a trial with these config values; `replay` gives the values back. Other keys are ignored.

        Raises:
            SpaceError: a value is missing or outside its domain. The text does not name the file.
        """
        params: dict[str, Any] = {}

        def given(parameter: Parameter) -> Any:
            if parameter.key not in values:
                raise SpaceError(f"there is no value for '{parameter.key}'")
            value = values[parameter.key]
            if not contains(parameter.domain, value):
                raise SpaceError(f"'{parameter.key}': {value!r} is outside {describe(parameter.domain)}")
            params[parameter.key] = stored(parameter.domain, value)
            return params[parameter.key]

        self._walk(given)
        return params

    def fixed_params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Optuna params of a point given by hand: `values` on top of the base. What neither holds is left open.

        Raises:
            SpaceError: an unknown key, a value outside its domain, or one that takes no part in such a trial.
        """
        domains = {parameter.key: parameter.domain for parameter in self.parameters}
        chosen = values.get(RECIPE)
        params = self.base_params({RECIPE: chosen} if chosen in list(self.recipes.sections) else {})
        for key, value in values.items():
            if key not in domains:
                raise SpaceError(f"'{key}' is not searched{nearest(key, list(domains))}")
            if not contains(domains[key], value):
                raise SpaceError(f"'{key}': {value!r} is outside {describe(domains[key])}")
            params[key] = stored(domains[key], value)
        idle = self._idle(params)
        for key in values:
            if key in idle:
                raise SpaceError(f"'{key}' takes no part in this point; leave it out, or set what it depends on")
        return params

    def always_active(self) -> set[str]:
        """Keys that take part in every trial."""
        searched = {parameter.key for parameter in self.parameters}
        trees = self.recipes.trees.values()
        return {p.key for p in self.parameters if not searched & set(p.when) and all(holds(p, {}, t) for t in trees)}

    def takes_part(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Whether a parameter belongs to a trial that has these values of the parameters before it."""
        return active(parameter, values, {p.key for p in self.parameters}, self.recipes.tree(values))

    def _idle(self, params: Mapping[str, Any]) -> set[str]:
        """Keys that cannot take part when these params are fixed."""
        searched = {parameter.key for parameter in self.parameters}
        values: dict[str, Any] = {}
        idle, unknown = set[str](), set[str]()
        for parameter in self.parameters:
            if unknown.intersection(parameter.when):
                unknown.add(parameter.key)
            elif not active(parameter, values, searched, self.recipes.tree(values)):
                idle.add(parameter.key)
            elif parameter.key in params:
                values[parameter.key] = decode(parameter.domain, parameter.key, params[parameter.key])
            else:
                unknown.add(parameter.key)
        return idle

    def _walk(self, take: Callable[[Parameter], Any]) -> dict[str, Any]:
        searched = {parameter.key for parameter in self.parameters}
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if active(parameter, values, searched, self.recipes.tree(values)):
                values[parameter.key] = decode(parameter.domain, parameter.key, take(parameter))
        return values


def load_space(path: Path, base_config: BaseConfig, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read, check and compile a space file.

    Args:
        path: the YAML file.
        base_config: how a recipe and preset name become a config.
        overrides: dotted keys set by the caller; they win over `base`, and a searched key set here is pinned:
            it leaves the search.

    Raises:
        SpaceError: anything wrong with the file, naming the file, the key and the nearest valid one.
        ConfigError: an unknown recipe or preset, or a wrong override.
    """
    document = read_space_file(path)
    overrides = dict(overrides or {})
    recipes = _recipes(document, path, base_config)
    try:
        recipes = recipes.overridden(dict(flattened(document["base"], recipes.sections)))
    except ConfigError as error:
        raise SpaceError(f"{path}: section 'base': {error}") from None
    recipes = recipes.overridden(overrides)
    try:
        parameters = searched_parameters(document["space"], recipes, pinned=set(overrides))
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None
    return SearchSpace(path, recipes, document["study"], parameters)


def _recipes(document: Mapping[str, Any], path: Path, base_config: BaseConfig) -> SpaceRecipes:
    """With their presets. Raises SpaceError, of a single recipe ConfigError."""
    sections: dict[str, SpaceRecipe] = {}
    for section, written in recipes_written(document).items():
        name, place = recipe_at(written, path)
        preset = document["preset"] if isinstance(document["preset"], str) else document["preset"][section]
        try:
            sections[section] = SpaceRecipe(name, preset, base_config(place, preset), place)
        except ConfigError as error:
            raise (SpaceError(f"{path}: section 'recipe': {error}") if section else error) from None
    for recipe in sections.values() if "" not in sections else ():
        for key in (RECIPE, *sections):
            if key in type(recipe.config).model_fields:
                raise SpaceError(f"{path}: '{key}' is a key of {recipe.name} too, so none can choose by that name")
    return SpaceRecipes(sections, next(iter(sections)))
