"""A value and one nearby: how population based training explores."""

import math
from random import Random
from typing import Any, assert_never

from search_spaces.parameter import Choice, Domain, FloatRange, IntRange, encode


def perturbed(domain: Domain, value: Any, factor: float, resample: float, rng: Random) -> Any:
    """A number times or divided by `factor`, a choice's neighbour; with chance `resample` a new draw.

    What comes out lies in the domain, on its steps.
    """
    if rng.random() < resample:
        return drawn(domain, rng)
    up = rng.random() < 0.5
    match domain:
        case Choice():
            places = [encode(choice) for choice in domain.values]
            place = places.index(encode(value)) + (1 if up else -1)
            return domain.values[min(max(place, 0), len(places) - 1)]
        case FloatRange():
            return _on_steps(domain, value * factor if up else value / factor)
        case IntRange():
            moved = value * factor if up else value / factor
            least = value + domain.step if up else value - domain.step
            return _whole(domain, max(moved, least) if up else min(moved, least))
        case _:
            assert_never(domain)


def drawn(domain: Domain, rng: Random) -> Any:
    """A value of the domain, uniform (in the logarithm where it says so)."""
    match domain:
        case Choice():
            return rng.choice(domain.values)
        case FloatRange():
            if domain.kind == "log":
                return _on_steps(domain, math.exp(rng.uniform(math.log(domain.low), math.log(domain.high))))
            return _on_steps(domain, rng.uniform(domain.low, domain.high))
        case IntRange():
            return domain.low + domain.step * rng.randint(0, (domain.high - domain.low) // domain.step)
        case _:
            assert_never(domain)


def _on_steps(domain: FloatRange, value: float) -> float:
    value = min(max(value, domain.low), domain.high)
    if domain.step is None:
        return value
    return min(domain.low + domain.step * round((value - domain.low) / domain.step), domain.high)


def _whole(domain: IntRange, value: float) -> int:
    value = min(max(value, domain.low), domain.high)
    return min(domain.low + domain.step * round((value - domain.low) / domain.step), domain.high)
