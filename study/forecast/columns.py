"""A configuration as numbers that its seconds per epoch may depend on.

Sizes enter by their logarithm, since cost goes with a power of them; each value of any other choice has a column of its
own. What only changes how weights are updated hardly changes the cost, and is believed to until measured otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.parameter import Choice, Domain, Parameter, encode
from search_spaces.space import SearchSpace

Row = NDArray[np.float64]

_LIGHT_SCALE, _SCALE = 0.05, 0.7
"""Standard deviations believed of a coefficient, in natural logarithms of seconds."""


class Columns:
    """The columns of a space: one for the constant, then those of each parameter."""

    def __init__(self, space: SearchSpace) -> None:
        self._roles = {parameter.key: space.recipes.role(parameter.key) for parameter in space.parameters}
        # how many epochs there are says nothing of how long each is
        self._parameters = [parameter for parameter in space.parameters if self._roles[parameter.key] != "epochs"]

    @property
    def heavy(self) -> int:
        """Parameters that cost."""
        return sum(role != "live" for role in self._roles.values())

    @property
    def scales(self) -> Row:
        """What is believed of each coefficient before anything was measured; the constant may be anything."""
        found = [10.0]
        for parameter in self._parameters:
            scale = _LIGHT_SCALE if self._roles[parameter.key] == "live" else _SCALE
            found += [scale] * _width(parameter.domain)
        return np.array(found)

    def row(self, values: Mapping[str, Any]) -> Row:
        """[C] of one configuration. A key that takes no part in it leaves zeros."""
        found = [1.0]
        for parameter in self._parameters:
            if parameter.key in values:
                found += _cells(parameter, values[parameter.key])
            else:
                found += [0.0] * _width(parameter.domain)
        return np.array(found)

    def rows(self, configurations: Sequence[Mapping[str, Any]]) -> Row:
        """[N, C] of several."""
        return np.array([self.row(values) for values in configurations]).reshape(len(configurations), -1)


def _width(domain: Domain) -> int:
    return 1 if _sizes(domain) is not None else len(domain.values) if isinstance(domain, Choice) else 1


def _cells(parameter: Parameter, value: Any) -> list[float]:
    domain = parameter.domain
    sizes = _sizes(domain)
    if sizes is not None:
        if not _is_size(value):  # a preset's own value may lie outside the space
            return [0.0]
        return [math.log(value) - float(np.mean(np.log([min(sizes), max(sizes)])))]
    if isinstance(domain, Choice):
        return [float(encode(choice) == encode(value)) for choice in domain.values]
    # a range that reaches zero or below is no size
    return [2 * (float(value) - domain.low) / (domain.high - domain.low) - 1]


def _sizes(domain: Domain) -> tuple[float, ...] | None:
    """The values or ends of a domain of positive numbers; None for any other."""
    numbers = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
    return numbers if all(_is_size(number) for number in numbers) else None


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
