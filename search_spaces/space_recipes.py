"""The recipes that the keys of a space belong to: one, or several among which the space chooses.

    recipe: {choice: [cross_modal, methods/mine.py:RECIPE]}
    space:
      training.optimizer.lr: ...        a key that all of them have
      cross_modal: {loss.beta: ...}     a section: keys of one recipe, which take part where it is chosen
      mine: {width: ...}                one in a file or module is called as that is

The choice is the parameter `recipe`. Outside the file, keys of a section have its name before them:
`cross_modal.loss.beta`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ssl_core.config import Config, dotted_keys, nearest, override
from ssl_core.config_roles import Role, role
from ssl_core.errors import ConfigError, SpaceError

RECIPE = "recipe"


@dataclass(frozen=True)
class SpaceRecipe:
    """One of them."""

    name: str  # as written; of a recipe's file without its folder
    preset: str
    config: Config  # the preset with `base` and the caller's overrides applied
    place: str = ""  # where it is, for `BaseConfig`; empty in a space that a study stored


@dataclass(frozen=True)
class SpaceRecipes:
    """All of them, by the name of their section; a single one that is not chosen lies under the empty name."""

    sections: Mapping[str, SpaceRecipe]
    base: str = ""  # section of the one that is taken where nothing is chosen: the first of the choice

    @property
    def chooses(self) -> bool:
        """Whether the recipe is searched, or was before it was set from outside."""
        return "" not in self.sections

    @property
    def label(self) -> str:
        """The recipe's name, or all names."""
        return " | ".join(recipe.name for recipe in self.sections.values())

    def chosen(self, values: Mapping[str, Any]) -> str:
        """Section of the recipe that a trial with these values trains."""
        return str(values.get(RECIPE, self.base)) if self.chooses else self.base

    def own_key(self, key: str, section: str) -> str | None:
        """What a key of the space is called in a recipe's config; None for one that is not of it."""
        return own_key(key, section, self.sections)

    def own(self, values: Mapping[str, Any], section: str) -> dict[str, Any]:
        """The values that a recipe's config takes, by its own keys; those of its section win over common ones."""
        return own_values(values, section, self.sections)

    def section_of(self, name: str) -> str:
        """Section of the recipe of that name. Raises SpaceError: there is none."""
        found = next((section for section, recipe in self.sections.items() if recipe.name == name), None)
        if found is None:
            raise SpaceError(f"'{RECIPE}' was {name} and is {self.label} here")
        return found

    def full_key(self, own: str, section: str, searched: Collection[str]) -> str:
        """What the space calls a key of a recipe's config: with its section before it, unless it is a common one."""
        if not self.chooses or own in searched:
            return own
        return f"{section}.{own}"

    def config(self, values: Mapping[str, Any]) -> Config:
        """The full config of the chosen recipe. Raises ConfigError when it refuses the combination."""
        section = self.chosen(values)
        return override(self.sections[section].config, self.own(values, section))

    def accept(self, values: Mapping[str, Any]) -> None:
        """Raises ConfigError when a recipe that may get these values refuses them."""
        for section in self.sections if RECIPE not in values else (self.chosen(values),):
            if (own := self.own(values, section)) or RECIPE in values:
                override(self.sections[section].config, own)

    def overridden(self, values: Mapping[str, Any]) -> "SpaceRecipes":
        """Other base configs, and with `recipe` another one as the base. Raises ConfigError."""
        for key in values if self.chooses else ():
            self.check_key(key)
        base = self.chosen(values)
        if base not in self.sections:
            raise ConfigError(f"'{RECIPE}': {base!r} is not among the choice ({', '.join(self.sections)})")
        sections = {
            section: replace(recipe, config=override(recipe.config, self.own(values, section)))
            for section, recipe in self.sections.items()
        }
        return SpaceRecipes(sections, base)

    def check_key(self, key: str) -> None:
        """Raises SpaceError for a key that no recipe has, or one without section that only some of them have."""
        if not self.chooses:
            (only,) = self._keys.values()
            if key not in only:
                raise SpaceError(f"unknown key '{key}'{nearest(key, only)}")
        elif key == RECIPE:
            return
        elif (section := next((one for one in self.sections if key.startswith(f"{one}.")), None)) is not None:
            own = key.removeprefix(f"{section}.")
            if own not in self._keys[section]:
                raise SpaceError(f"unknown key '{own}' of {section}{nearest(own, self._keys[section])}")
        elif lacking := [section for section, keys in self._keys.items() if key not in keys]:
            having = [section for section in self.sections if section not in lacking]
            if not having:
                raise SpaceError(f"unknown key '{key}'{nearest(key, self.known)}")
            raise SpaceError(
                f"'{key}' is a key of {' and '.join(having)}, but not of {' and '.join(lacking)}; "
                f"put it into the section '{having[0]}'"
            )

    def role(self, key: str) -> Role:
        """What a key does (`ssl_core.config_roles`); of a common one, what it does in the base recipe."""
        section = next((one for one in self.sections if one and key.startswith(f"{one}.")), self.base)
        own = self.own_key(key, section)
        return "fixed" if own is None else role(type(self.sections[section].config), own)

    @cached_property
    def trees(self) -> Mapping[str, dict[str, Any]]:
        """By section: the plain values that keys have where its recipe is chosen; sections under their names."""
        plain = {section: recipe.config.model_dump(mode="json") for section, recipe in self.sections.items()}
        if not self.chooses:
            return plain
        return {section: {**own, **plain, RECIPE: section} for section, own in plain.items()}

    def tree(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of the chosen recipe."""
        return self.trees[self.chosen(values)]

    def stored(self) -> tuple[Any, dict[str, Any]]:
        """Names and plain values as a study stores them: of one recipe its own, of several by section."""
        plain = {section: recipe.config.model_dump(mode="json") for section, recipe in self.sections.items()}
        if not self.chooses:
            return self.label, plain[self.base]
        return {section: recipe.name for section, recipe in self.sections.items()}, {RECIPE: self.base, **plain}

    @property
    def known(self) -> list[str]:
        """Every key that can be searched or set."""
        if not self.chooses:
            return [*self._keys[""]]
        first, *others = self._keys.values()
        common = [key for key in first if all(key in keys for keys in others)]
        return [RECIPE, *common, *(f"{section}.{key}" for section, keys in self._keys.items() for key in keys)]

    @cached_property
    def _keys(self) -> Mapping[str, list[str]]:
        return {section: list(dotted_keys(type(recipe.config))) for section, recipe in self.sections.items()}


def own_key(key: str, section: str, sections: Mapping[str, Any]) -> str | None:
    """See `SpaceRecipes.own_key`."""
    if "" in sections:
        return key
    if key == RECIPE:
        return None
    for other in sections:
        if key.startswith(f"{other}."):
            return key.removeprefix(f"{other}.") if other == section else None
    return key


def own_values(values: Mapping[str, Any], section: str, sections: Mapping[str, Any]) -> dict[str, Any]:
    """See `SpaceRecipes.own`."""
    common: dict[str, Any] = {}
    special: dict[str, Any] = {}
    for key, value in values.items():
        if (own := own_key(key, section, sections)) is not None:
            (common if own == key else special)[own] = value
    return {**common, **special}


def section_name(written: str) -> str:
    """How a space file calls a recipe of a choice: `cross_modal`; `mine` for `methods/mine.py:RECIPE`."""
    where, colon, _ = written.rpartition(":")
    if not colon:
        return written
    return Path(where).stem if where.endswith(".py") else where.rpartition(".")[2]


def flattened(body: Mapping[Any, Any], sections: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Key and value of a part of a space file, keys of a section with its name before them. Raises SpaceError."""
    for key, value in body.items():
        if key not in sections or key == "":
            yield str(key), value
        elif not isinstance(value, Mapping):
            raise SpaceError(f"section '{key}' must hold key: value pairs of that recipe, not {type(value).__name__}")
        else:
            yield from ((f"{key}.{inner}", each) for inner, each in value.items())
