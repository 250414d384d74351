"""The `space` section of a space file as parameters: every key known, every condition possible, every end accepted."""

from collections.abc import Collection, Mapping
from typing import Any

from search_spaces.conditions import active, check_conditions, contexts, in_order
from search_spaces.parameter import Choice, Parameter, edges, parse_parameter
from search_spaces.space_recipes import RECIPE, SpaceRecipes, flattened
from ssl_core.config import within
from ssl_core.errors import ConfigError, SpaceError


def searched_parameters(section: Mapping[Any, Any], recipes: SpaceRecipes, pinned: set[str]) -> tuple[Parameter, ...]:
    """The parameters in an order where conditions only look back, and first the recipe where it is chosen.

    Args:
        section: `space` of a space file.
        recipes: with their base configs.
        pinned: keys that are set from outside.

    Raises:
        SpaceError: naming the key and the nearest valid one, not the file.
    """
    entries = list(flattened(section, recipes.sections))
    for key, _ in entries:
        if key == RECIPE and recipes.chooses:
            raise SpaceError(f"'{key}' is searched by its own section, beside 'space'; take it out here")
        try:
            recipes.check_key(key)
        except SpaceError as error:
            raise SpaceError(f"section 'space': {error}") from None
    # a pinned key is checked too (a typo in it is a typo), then leaves the search
    every = [_conditional(parse_parameter(key, entry), recipes, {key for key, _ in entries}) for key, entry in entries]
    if recipes.chooses:
        every.insert(0, Parameter(key=RECIPE, domain=Choice(values=tuple(recipes.sections))))
    searched = {one.key: one for one in every if not _is_pinned(one.key, recipes, pinned)}
    if not searched:
        raise SpaceError("nothing is left to search: every key of 'space' is set from outside; drop an override")
    for parameter in every:
        check_conditions(parameter, searched, recipes)
    _check_overlap(searched, pinned, recipes)
    ordered = in_order(list(searched.values()))
    # a condition on a searched key holds only where that one takes part: without a first, there is no other
    if not any(active(parameter, {}, set(searched), recipes.tree({})) for parameter in ordered):
        raise SpaceError(f"nothing is left to search: no condition ever holds, as that of '{ordered[0].key}'")
    for parameter in ordered:
        _check_edges(parameter, searched, recipes)
    return ordered


def _conditional(parameter: Parameter, recipes: SpaceRecipes, entries: Collection[str]) -> Parameter:
    """A key of a section takes part where its recipe is chosen; its conditions look into the section first."""
    if not recipes.chooses:
        return parameter
    key = parameter.key
    section = next((one for one in recipes.sections if key.startswith(f"{one}.")), None)
    when: dict[str, tuple[Any, ...]] = {} if section is None else {RECIPE: (section,)}
    for other, listed in parameter.when.items():
        full = f"{section}.{other}"
        if section is not None and (full in entries or (other not in entries and full in recipes.known)):
            other = full
        elsewhere = recipes.own_key(other, section or "") is None
        if other == RECIPE or elsewhere:
            raise SpaceError(
                f"'{key}': when {other}: a key that takes part with one recipe only belongs into its section, "
                "and its conditions name keys of that recipe"
            )
        when[other] = listed
    return parameter.model_copy(update={"when": when})


def _is_pinned(key: str, recipes: SpaceRecipes, pinned: Collection[str]) -> bool:
    """Set from outside: by its own name, or by that which it has in its recipe."""
    return key in pinned or any(recipes.own_key(key, section) in pinned for section in recipes.sections)


def _check_overlap(searched: Mapping[str, Parameter], pinned: set[str], recipes: SpaceRecipes) -> None:
    """Raises SpaceError where two keys decide about one value."""
    for section in recipes.sections:
        own = {key: recipes.own_key(key, section) for key in searched}
        names = {name: key for key, name in own.items() if name is not None}
        for key in (*searched, *sorted(pinned)):
            name = recipes.own_key(key, section)
            if name is None:
                continue
            if (outer := within(name, names)) is not None:
                raise SpaceError(
                    f"'{key}' lies within '{names[outer]}', which is searched as a whole; search or set one of them"
                )
            if (other := names.get(name, key)) != key:
                raise SpaceError(f"'{key}' and '{other}' are one value of {section}; search or set one of them")


def _check_edges(parameter: Parameter, parameters: Mapping[str, Parameter], recipes: SpaceRecipes) -> None:
    """Every choice and both ends of every range must be accepted wherever the key takes part."""
    for context in contexts(parameter, parameters):
        for value in edges(parameter.domain):
            try:
                recipes.accept({**context, parameter.key: value})
            except ConfigError as error:
                given = f" (with {', '.join(f'{k}={v}' for k, v in context.items())})" if context else ""
                raise SpaceError(f"'{parameter.key}': {value!r} is refused by the recipe{given}: {error}") from None
