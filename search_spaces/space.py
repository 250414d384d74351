"""A search space: what a study may try, from a YAML file, checked against the recipe before anything runs.

    recipe: cross_modal            whose config the keys belong to
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
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna

from search_spaces.conditions import active, base_value, check_conditions, contexts, holds, in_order
from search_spaces.parameter import Parameter, contains, decode, describe, edges, parse_parameter, stored, suggest
from ssl_core.config import Config, dotted_keys, nearest, override, within
from ssl_core.errors import ConfigError, SpaceError
from ssl_core.yaml_text import parse_yaml

SECTIONS = ("recipe", "preset", "base", "study", "space")
_EXAMPLE = {"recipe": "cross_modal", "preset": "quick"}

BaseConfig = Callable[[str, str], Config]
"""(place of the recipe, preset name) -> the preset's config; raises ConfigError for unknown names.

The place is the recipe's name as written; that of a file is `/absolute/path.py:NAME`.
"""


@dataclass(frozen=True)
class SearchSpace:
    """A validated space."""

    # the file it came from, for messages. recipe, preset: as written; of a recipe's file without its folder
    source: Path
    recipe: str
    preset: str
    base_config: Config  # the preset with `base` and the caller's overrides applied
    study: Mapping[str, Any]  # the `study` section, unchecked
    parameters: tuple[Parameter, ...]  # in an order where conditions only look back
    recipe_place: str = ""  # where the recipe is, for `BaseConfig`; not digested. Empty in a space that a study stored

    @cached_property
    def base_tree(self) -> dict[str, Any]:
        """The base config as plain values."""
        return self.base_config.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """16 hex digits over recipe, resolved base config and parameters: equal spaces, equal digests."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON of everything the digest covers; stored with the study."""
        document = {
            "recipe": self.recipe,
            "base": self.base_tree,
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
        return override(self.base_config, values)

    def base_params(self) -> dict[str, Any]:
        """Optuna params of the base config, as far as the space holds it: the natural first trial."""
        known = {p.key: base_value(self.base_tree, p.key) for p in self.parameters}
        return {p.key: stored(p.domain, known[p.key]) for p in self.parameters if contains(p.domain, known[p.key])}

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
        params = self.base_params()
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
        return {p.key for p in self.parameters if not searched & set(p.when) and holds(p, {}, self.base_tree)}

    def takes_part(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Whether a parameter belongs to a trial that has these values of the parameters before it."""
        return active(parameter, values, {p.key for p in self.parameters}, self.base_tree)

    def _idle(self, params: Mapping[str, Any]) -> set[str]:
        """Keys that cannot take part when these params are fixed."""
        searched = {parameter.key for parameter in self.parameters}
        values: dict[str, Any] = {}
        idle, unknown = set[str](), set[str]()
        for parameter in self.parameters:
            if unknown.intersection(parameter.when):
                unknown.add(parameter.key)
            elif not active(parameter, values, searched, self.base_tree):
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
            if active(parameter, values, searched, self.base_tree):
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
    recipe, place = recipe_at(document["recipe"], path)
    base = base_config(place, document["preset"])
    try:
        base = override(base, document["base"])
    except ConfigError as error:
        raise SpaceError(f"{path}: section 'base': {error}") from None
    base = override(base, overrides)
    try:
        parameters = _parameters(document["space"], base, pinned=set(overrides))
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None
    return SearchSpace(path, recipe, document["preset"], base, document["study"], parameters, place)


def read_space_file(path: Path) -> dict[str, Any]:
    """The sections of a space file; every section is present afterwards, `base` and `study` possibly empty.

    Raises:
        SpaceError: no such file, not YAML, an unknown or repeated key, a section of the wrong shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: cannot be read as a search space ({error}); check the path") from None
    try:
        document = parse_yaml(text)
    except ConfigError as error:
        raise SpaceError(f"{path}: {error}") from None
    if not isinstance(document, Mapping):
        raise SpaceError(
            f"{path}: expected the sections {', '.join(SECTIONS)}; the file holds {type(document).__name__}"
        )
    return _checked_sections(path, dict(document))


def _checked_sections(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    for key in document:
        if key not in SECTIONS:
            raise SpaceError(
                f"{path}: unknown section '{key}'{nearest(str(key), list(SECTIONS))}; known are {', '.join(SECTIONS)}"
            )
    for key in ("recipe", "preset"):
        if not isinstance(document.get(key), str):
            raise SpaceError(f"{path}: section '{key}' is missing; write for example '{key}: {_EXAMPLE[key]}'")
    for key in ("base", "study", "space"):
        section = document.get(key)
        document[key] = {} if section is None else section
        if not isinstance(document[key], Mapping):
            raise SpaceError(f"{path}: section '{key}' must hold key: value pairs, not {type(section).__name__}")
    if not document["space"]:
        raise SpaceError(f"{path}: section 'space' is empty; name a key, for example 'loss.beta: {{log: [0.3, 10]}}'")
    return document


def recipe_at(written: str, space: Path) -> tuple[str, str]:
    """(name, place) of a space file's recipe. One in a file, `folder/my_recipe.py:RECIPE`, is named without its folder:
    moved together, space and recipe stay the same study.
    """
    where, colon, attribute = written.rpartition(":")
    if not colon or not where.endswith(".py"):
        return written, written
    file = (space.parent / where).absolute()
    return f"{file.name}:{attribute}", f"{file}:{attribute}"


def _parameters(section: Mapping[Any, Any], base: Config, pinned: set[str]) -> tuple[Parameter, ...]:
    known = list(dotted_keys(type(base)))
    for key in section:
        if key not in known:
            raise SpaceError(f"unknown key '{key}' in 'space'{nearest(str(key), known)}")
    # a pinned key is checked too (a typo in it is a typo), then leaves the search
    every = [parse_parameter(key, entry) for key, entry in section.items()]
    searched = {parameter.key: parameter for parameter in every if parameter.key not in pinned}
    if not searched:
        raise SpaceError("nothing is left to search: every key of 'space' is set from outside; drop an override")
    for parameter in every:
        check_conditions(parameter, searched, base)
    _check_overlap(searched, pinned)
    ordered = in_order(list(searched.values()))
    tree = base.model_dump(mode="json")
    # a condition on a searched key holds only where that one takes part: without a first, there is no other
    if not any(active(parameter, {}, set(searched), tree) for parameter in ordered):
        raise SpaceError(f"nothing is left to search: no condition ever holds, as that of '{ordered[0].key}'")
    for parameter in ordered:
        _check_edges(parameter, searched, base)
    return ordered


def _check_overlap(searched: Mapping[str, Parameter], pinned: set[str]) -> None:
    """Raises SpaceError where two keys decide about one value."""
    for key in (*searched, *pinned):
        if (outer := within(key, searched)) is not None:
            raise SpaceError(f"'{key}' lies within '{outer}', which is searched as a whole; search or set one of them")


def _check_edges(parameter: Parameter, parameters: Mapping[str, Parameter], base: Config) -> None:
    """Every choice and both ends of every range must be accepted wherever the key takes part."""
    for context in contexts(parameter, parameters):
        for value in edges(parameter.domain):
            try:
                override(base, {**context, parameter.key: value})
            except ConfigError as error:
                given = f" (with {', '.join(f'{k}={v}' for k, v in context.items())})" if context else ""
                raise SpaceError(f"'{parameter.key}': {value!r} is refused by the recipe{given}: {error}") from None
