"""A search space: what a study may try, from a YAML file, checked against the recipe before anything runs.

    recipe: cross_modal            whose config the keys belong to
    preset: quick                  where every value that is not searched comes from
    base: {training.epochs: 12}    overrides of the preset
    study: {trials: 8, ...}        how to search (read by `study.spec.StudySpec`; not part of the digest)
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

from search_spaces.conditions import active, base_value, check_conditions, contexts, in_order
from search_spaces.parameter import Parameter, contains, decode, edges, encode, parse_parameter, suggest
from search_spaces.space_file import read_space_file
from ssl_core.config import Config, dotted_keys, nearest, override
from ssl_core.errors import ConfigError, SpaceError

BaseConfig = Callable[[str, str], Config]
"""(recipe name, preset name) -> the preset's config; raises ConfigError for unknown names."""


@dataclass(frozen=True)
class SearchSpace:
    """A validated space.

    Attributes:
        source: the file it came from, for messages.
        recipe, preset: as written.
        base_config: the preset with `base` and the caller's overrides applied.
        study: the `study` section, unchecked.
        parameters: in an order where conditions only look back.
    """

    source: Path
    recipe: str
    preset: str
    base_config: Config
    study: Mapping[str, Any]
    parameters: tuple[Parameter, ...]

    @property
    def digest(self) -> str:
        """16 hex digits over recipe, resolved base config and parameters: equal spaces, equal digests."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON of everything the digest covers; stored with the study."""
        document = {
            "recipe": self.recipe,
            "base": self.base_config.model_dump(mode="json"),
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

        def stored(parameter: Parameter) -> Any:
            if parameter.key not in params:
                raise SpaceError(f"{self.source}: the trial has no value for '{parameter.key}'; it is of another space")
            used.add(parameter.key)
            return params[parameter.key]

        values = self._walk(stored)
        if extra := sorted(set(params) - used):
            raise SpaceError(f"{self.source}: the trial has '{extra[0]}', which takes no part in this space")
        return values

    def configure(self, values: Mapping[str, Any]) -> Config:
        """The full config of a trial. Raises ConfigError when the combination is refused by the recipe."""
        return override(self.base_config, values)

    def base_params(self) -> dict[str, Any]:
        """Optuna params of the base config, as far as the space holds it: the natural first trial."""
        known = {p.key: base_value(self.base_config, p.key) for p in self.parameters}
        return {p.key: encode(known[p.key]) for p in self.parameters if contains(p.domain, known[p.key])}

    def _walk(self, take: Callable[[Parameter], Any]) -> dict[str, Any]:
        searched = {parameter.key for parameter in self.parameters}
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if active(parameter, values, searched, self.base_config):
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
    base = base_config(document["recipe"], document["preset"])
    try:
        base = override(base, document["base"])
    except ConfigError as error:
        raise SpaceError(f"{path}: section 'base': {error}") from None
    base = override(base, overrides)
    try:
        parameters = _parameters(document["space"], base, pinned=set(overrides))
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None
    return SearchSpace(path, document["recipe"], document["preset"], base, document["study"], parameters)


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
    ordered = in_order(list(searched.values()))
    for parameter in ordered:
        _check_edges(parameter, searched, base)
    return ordered


def _check_edges(parameter: Parameter, parameters: Mapping[str, Parameter], base: Config) -> None:
    """Every choice and both ends of every range must be accepted wherever the key takes part."""
    for context in contexts(parameter, parameters):
        for value in edges(parameter.domain):
            try:
                override(base, {**context, parameter.key: value})
            except ConfigError as error:
                given = f" (with {', '.join(f'{k}={v}' for k, v in context.items())})" if context else ""
                raise SpaceError(f"'{parameter.key}': {value!r} is refused by the recipe{given}: {error}") from None
