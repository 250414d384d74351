"""Methods that need no Optuna sampler: a grid, low-discrepancy sequences (Sobol, Halton), CMA-ES.

The study's seed draws the order of a grid and scrambles a sequence. In a sequence every range of the space has a
coordinate of its own, those with conditions too: it is used when the key takes part.

CMA-ES searches the ranges that every trial has; the rest is drawn at random. Nothing is stored but the generation a
trial was suggested in: the distribution is worked out anew for each suggestion, from the configurations in the order
they were finished. A generation is complete when `population` of its configurations are; those that finish later, in a
parallel study, are left out. Stopped configurations rank below complete ones, diverged ones below these, and those that
break a constraint last. When a distribution has shrunk to nothing, the next generation starts wide again.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search_spaces.parameter import Choice, Domain, FloatRange, IntRange, Parameter, decode, encode
from search_spaces.space import SearchSpace
from ssl_core.errors import SpaceError, StudyError
from study.samplers.sampler_view import SamplerView
from study.samplers.tpe import in_order
from study.spec.sampler_spec import CMAES


class SpaceExhaustedError(StudyError):
    """Every configuration of the grid was tried; the text says so. The study ends well with it as its reason."""


@dataclass(frozen=True)
class Proposal:
    """What a method suggests."""

    # Optuna params; those that take no part in the trial are ignored
    params: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)  # stored with the trial, read again for later suggestions
    note: str = ""  # for a person


Numeric = FloatRange | IntRange


def numeric(parameter: Parameter) -> Numeric | None:
    """The domain if it is a range."""
    return parameter.domain if isinstance(parameter.domain, (FloatRange, IntRange)) else None


def always_numeric(space: SearchSpace) -> list[Parameter]:
    """Ranges that every trial has, whatever its choices."""
    always = space.always_active()
    return [parameter for parameter in space.parameters if parameter.key in always and numeric(parameter)]


def steps_of(domain: Numeric) -> int | None:
    """How many values it has; None for a continuous one."""
    if domain.step is None:
        return None
    return round((domain.high - domain.low) / domain.step) + 1


def to_unit(domain: Numeric, value: float) -> float:
    """Where a value lies, between 0 and 1."""
    steps = steps_of(domain)
    if steps is not None and domain.step is not None:
        return (round((value - domain.low) / domain.step) + 0.5) / steps
    low, high, at = (math.log(x) if domain.kind == "log" else x for x in (domain.low, domain.high, value))
    return (at - low) / (high - low)


def from_unit(domain: Numeric, at: float) -> float | int:
    """The value at a place between 0 and 1."""
    steps = steps_of(domain)
    if steps is not None and domain.step is not None:
        value = domain.low + min(int(at * steps), steps - 1) * domain.step
    elif domain.kind == "log":
        value = math.exp(math.log(domain.low) + at * (math.log(domain.high) - math.log(domain.low)))
    else:
        value = domain.low + at * (domain.high - domain.low)
    value = min(max(value, domain.low), domain.high)
    return int(value) if isinstance(domain, IntRange) else float(value)


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


def next_of_grid(space: SearchSpace, steps: int, seed: int, known: Sequence[FrozenTrial]) -> Proposal:
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


def _key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal for equal params: numbers by twelve digits, and `True` is not 1."""
    return tuple((name, _rounded(params[name])) for name in sorted(params))


def _rounded(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value), "bool"
    return float(f"{value:.12g}") if isinstance(value, float) else value


SEQUENCE_MARK = "quasi_random:index"


def next_of_sequence(
    space: SearchSpace, sequence: Literal["sobol", "halton"], seed: int, known: list[FrozenTrial]
) -> Proposal:
    """The point after those that were used."""
    from scipy.stats import qmc  # slow to import, and rarely needed

    index = 1 + max((trial.system_attrs.get(SEQUENCE_MARK, -1) for trial in known), default=-1)
    ranges = [(parameter.key, domain) for parameter in space.parameters if (domain := numeric(parameter))]
    if not ranges:
        return Proposal(marks={SEQUENCE_MARK: index}, note="no range to cover; choices are drawn at random")
    kind = qmc.Sobol if sequence == "sobol" else qmc.Halton
    engine = kind(len(ranges), scramble=True, seed=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one point is no power of two
        point = engine.fast_forward(index).random(1)[0] if index else engine.random(1)[0]
    params = {key: from_unit(domain, float(at)) for (key, domain), at in zip(ranges, point, strict=True)}
    return Proposal(params, {SEQUENCE_MARK: index}, f"point {index + 1} of the {sequence} sequence")


if TYPE_CHECKING:
    from cmaes import CMA

GENERATION_MARK = "cmaes:generation"


def check_cmaes(space: SearchSpace) -> None:
    """Raises SpaceError naming the keys when fewer than two ranges are in every trial."""
    found = [parameter.key for parameter in always_numeric(space)]
    if len(found) < 2:
        others = sorted({parameter.key for parameter in space.parameters} - set(found))
        has = f"only '{found[0]}' is" if found else "none is"
        why = f" ({', '.join(others)} are choices or have conditions)" if others else ""
        raise SpaceError(
            f"{space.source}: CMA-ES needs two or more ranges that every trial has; {has} one{why}. Use the sampler tpe"
        )


def next_of_cmaes(space: SearchSpace, spec: CMAES, seed: int, view: SamplerView) -> Proposal:
    """A draw from the distribution that the finished generations lead to."""
    ranges = [(parameter.key, domain) for parameter in always_numeric(space) if (domain := numeric(parameter))]
    optimiser, generation = _fresh(spec, ranges, view, seed), 0
    done: list[FrozenTrial] = []
    for trial in view.in_order():
        if trial.system_attrs.get(GENERATION_MARK) != generation:
            continue
        done.append(trial)
        if len(done) == optimiser.population_size:
            ranks = _ranks(done, view)
            optimiser.tell([(_place(t, ranges), rank) for t, rank in zip(done, ranks, strict=True)])
            generation, done = generation + 1, []
            if optimiser.should_stop():
                optimiser = _fresh(spec, ranges, view, seed)
    point = optimiser.ask()
    params = {key: from_unit(domain, float(at)) for (key, domain), at in zip(ranges, point, strict=True)}
    return Proposal(params, {GENERATION_MARK: generation}, f"generation {generation} of CMA-ES")


def _fresh(spec: CMAES, ranges: list[tuple[str, Numeric]], view: SamplerView, seed: int) -> "CMA":
    """The first distribution: around the best configuration of earlier studies, else the middle."""
    from cmaes import CMA  # brings scipy.stats, seconds that other samplers need not pay

    warm = [t for t in view.storage.entries[: view.warm] if t.state is TrialState.COMPLETE]
    middle = np.full(len(ranges), 0.5)
    if warm:
        ranks = _ranks(warm, view)
        middle = _place(warm[ranks.index(0.0)], ranges)
    bounds = np.tile([0.0, 1.0], (len(ranges), 1))
    return CMA(middle, spec.sigma, bounds=bounds, seed=seed, population_size=spec.population)


def _place(trial: FrozenTrial, ranges: list[tuple[str, Numeric]]) -> np.ndarray:
    return np.array([to_unit(domain, trial.params[key]) for key, domain in ranges])


def _ranks(trials: list[FrozenTrial], view: SamplerView) -> list[float]:
    """0 for the best: CMA-ES uses the order alone."""
    order = in_order(view.storage, [trial.number for trial in trials])
    rank = {number: float(place) for place, number in enumerate(order)}
    return [rank[trial.number] for trial in trials]
