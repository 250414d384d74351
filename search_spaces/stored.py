"""A search space as a study stored it: read without the file and without the recipe it came from."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace
from search_spaces.space_recipes import RECIPE, SpaceRecipe, SpaceRecipes
from ssl_core.config import Config, validated
from ssl_core.errors import ConfigError, SpaceError


class StoredBase(Config):
    """The plain values of some recipe's config."""

    model_config = ConfigDict(frozen=True, extra="allow")


def stored_space(text: str, order: Sequence[str], source: Path) -> SearchSpace:
    """The space that gave `text` by `to_json`, with its parameters in `order`.

    It suggests, replays and has the digest of the original; it cannot build the recipe's configs.

    Raises:
        SpaceError: the text is not that of a space, or the order names other parameters.
    """
    try:
        document: dict[str, Any] = json.loads(text)
        parameters = {key: validated(Parameter, {"key": key, **entry}) for key, entry in document["space"].items()}
        recipes = _recipes(document["recipe"], document["base"])
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise SpaceError(f"{source}: the stored search space cannot be read ({error})") from None
    if not isinstance(order, (list, tuple)) or sorted(map(str, order)) != sorted(parameters):
        raise SpaceError(f"{source}: the stored search space and its order name different parameters")
    return SearchSpace(source, recipes, {}, tuple(parameters[key] for key in order))


def _recipes(named: Any, base: Any) -> SpaceRecipes:
    if not isinstance(named, dict):
        return SpaceRecipes({"": SpaceRecipe(str(named), "", StoredBase.model_validate(base))})
    sections = {
        section: SpaceRecipe(str(name), "", StoredBase.model_validate(base[section])) for section, name in named.items()
    }
    return SpaceRecipes(sections, str(base[RECIPE]))


def in_stored_order(space: SearchSpace, order: Sequence[str]) -> SearchSpace:
    """The same space with its parameters asked in the order that the study began with."""
    if [parameter.key for parameter in space.parameters] == list(order):
        return space
    known = {parameter.key: parameter for parameter in space.parameters}
    return replace(space, parameters=tuple(known[key] for key in order))
