"""When a key takes part: order of evaluation, and checks that a condition can hold at all."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_spaces.parameter import Choice, FloatRange, Parameter, contains, describe, encode
from search_spaces.space_recipes import SpaceRecipes
from ssl_core.config import nearest
from ssl_core.errors import ConfigError, SpaceError

ABSENT = object()
"""What a key of another union member is worth: equal to nothing."""


def in_order(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Each parameter after those its conditions name, file order otherwise. Raises SpaceError on a cycle."""
    waiting, done, ordered = list(parameters), set[str](), list[Parameter]()
    searched = {parameter.key for parameter in parameters}
    while waiting:
        ready = [p for p in waiting if all(other in done or other not in searched for other in p.when)]
        if not ready:
            raise SpaceError(f"conditions go in a circle: {', '.join(repr(p.key) for p in waiting)}; remove one 'when'")
        # one at a time keeps the file's order among those that are ready
        waiting.remove(ready[0])
        done.add(ready[0].key)
        ordered.append(ready[0])
    return tuple(ordered)


def holds(parameter: Parameter, values: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether every condition holds: searched keys from `values`, the rest from the base config's plain values."""
    return all(
        any(_equal(values.get(other, ABSENT), allowed) for allowed in listed)
        if other in values
        else any(_equal(base_value(base, other), allowed) for allowed in listed)
        for other, listed in parameter.when.items()
    )


def active(parameter: Parameter, values: Mapping[str, Any], searched: set[str], base: Mapping[str, Any]) -> bool:
    """`holds`, where a searched key that took no part itself satisfies nothing."""
    if any(other in searched and other not in values for other in parameter.when):
        return False
    return holds(parameter, values, base)


def base_value(base: Mapping[str, Any], key: str) -> Any:
    """The plain value of a dotted key of a dumped config, or ABSENT where the chosen union member lacks it."""
    node: Any = base
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node


def check_conditions(parameter: Parameter, parameters: Mapping[str, Parameter], recipes: SpaceRecipes) -> None:
    """Raises SpaceError for a condition on an unknown key or on a value that key cannot take."""
    for other, listed in parameter.when.items():
        where = f"'{parameter.key}': when {other}"
        if other == parameter.key:
            raise SpaceError(f"{where}: a key cannot be its own condition")
        if other in parameters:
            _check_searched(where, parameters[other], listed)
            continue
        if other not in recipes.known:
            raise SpaceError(f"{where}: unknown key '{other}'{nearest(other, recipes.known)}")
        for value in listed:
            try:
                recipes.accept({other: value})
            except ConfigError as error:
                raise SpaceError(f"{where}: the key cannot take the value {value!r} ({error})") from None


def _check_searched(where: str, other: Parameter, listed: tuple[Any, ...]) -> None:
    if isinstance(other.domain, FloatRange):
        raise SpaceError(
            f"{where}: a condition needs a choice or int key; '{other.key}' is a {other.domain.kind} range"
        )
    for value in listed:
        if not contains(other.domain, value):
            hint = ""
            if isinstance(other.domain, Choice):
                hint = nearest(str(value), [str(encode(choice)) for choice in other.domain.values])
            domain = describe(other.domain)
            raise SpaceError(f"{where}: '{other.key}' never takes the value {value!r}{hint}; it is {domain}")


def contexts(parameter: Parameter, parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Every combination of condition values that lets `parameter` take part (parents: their first one)."""
    keys = list(parameter.when)
    for combination in itertools.product(*parameter.when.values()):
        context: dict[str, Any] = {}
        for other in keys:
            if other in parameters:
                context.update(next(contexts(parameters[other], parameters)))
        context.update(zip(keys, combination, strict=True))
        yield context


def _equal(left: Any, right: Any) -> bool:
    if left is ABSENT:
        return False
    return bool(encode(left) == encode(right)) and isinstance(left, bool) == isinstance(right, bool)
