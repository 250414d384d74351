"""Numeric domains as the unit interval: what sequences and CMA-ES work on. Whole steps share it equally."""

import math

from search_spaces.parameter import FloatRange, IntRange, Parameter
from search_spaces.space import SearchSpace

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
