"""Every combination of a space once, in an order drawn from the study's seed."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from search_spaces.parameter import Choice, Domain, FloatRange, decode, encode
from search_spaces.space import SearchSpace
from ssl_core.errors import SpaceError
from study.samplers.exhausted import SpaceExhaustedError
from study.samplers.proposal import Proposal
from study.samplers.unit import Numeric, from_unit, steps_of

LIMIT = 100_000
"""Combinations above which a grid is refused: nobody means to try them all."""

_GRIDS: dict[tuple[str, int, int], tuple[dict[str, Any], ...]] = {}


def check_grid(space: SearchSpace, steps: int) -> None:
    """Raises SpaceError when the grid is too large to be meant."""
    if sum(1 for _ in islice(_combinations(space, steps), LIMIT + 1)) > LIMIT:
        raise SpaceError(
            f"{space.source}: the grid of this space has more than {LIMIT:,} points; "
            "fix keys under 'base', lower 'steps', or use the sampler qmc or random"
        )


def next_point(space: SearchSpace, steps: int, seed: int, known: Sequence[FrozenTrial]) -> Proposal:
    """The first point in the seed's order that was not tried yet. Raises SpaceExhaustedError when all were."""
    points = _shuffled(space, steps, seed)
    tried = {_key(trial.params) for trial in known}
    for position, point in enumerate(points, start=1):
        if _key(point) not in tried:
            return Proposal(point, note=f"point {position} of {len(points)}")
    raise SpaceExhaustedError(f"all {len(points)} points of the grid were tried")


def values_of(domain: Domain, steps: int) -> Iterator[Any]:
    """Optuna params of a domain's points: choices and named steps all, else `steps` from low to high."""
    if isinstance(domain, Choice):
        return (encode(value) for value in domain.values)
    # a whole number's step of one is no step of its own
    count, named = steps_of(domain), isinstance(domain, FloatRange) or domain.step > 1
    if count is not None and (named or count <= steps):
        return (from_unit(domain, (i + 0.5) / count) for i in range(count))
    return (_at(domain, i / (steps - 1)) for i in range(steps))


def _at(domain: Numeric, share: float) -> float | int:
    count = steps_of(domain)
    return from_unit(domain, share if count is None else (round(share * (count - 1)) + 0.5) / count)


def _shuffled(space: SearchSpace, steps: int, seed: int) -> tuple[dict[str, Any], ...]:
    key = (space.digest + ",".join(p.key for p in space.parameters), steps, seed)
    if key not in _GRIDS:
        points = list(_combinations(space, steps))
        order = np.random.RandomState(seed % 2**32).permutation(len(points))
        _GRIDS[key] = tuple(points[i] for i in order)
    return _GRIDS[key]


def _combinations(space: SearchSpace, steps: int) -> Iterator[dict[str, Any]]:
    parameters = space.parameters

    def grow(place: int, params: dict[str, Any], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if place == len(parameters):
            yield params
            return
        parameter = parameters[place]
        if not space.takes_part(parameter, values):
            yield from grow(place + 1, params, values)
            return
        for stored in values_of(parameter.domain, steps):
            value = decode(parameter.domain, parameter.key, stored)
            yield from grow(place + 1, {**params, parameter.key: stored}, {**values, parameter.key: value})

    return grow(0, {}, {})


@lru_cache(maxsize=16)
def _names(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(keys))


def _key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal for equal params: numbers by twelve digits, and `True` is not 1."""
    return tuple((name, _rounded(params[name])) for name in _names(tuple(params)))


def _rounded(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value), "bool"
    return float(f"{value:.12g}") if isinstance(value, float) else value
