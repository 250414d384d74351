"""One line of a search space: which values a key may take, and when it takes part.

    points.num_points:  {choice: [256, 512]}
    loss.margin:        {float: [0.2, 5.0], step: 0.2}
    loss.beta:          {log: [0.3, 10]}
    training.epochs:    {int: [8, 32], step: 8, when: {training.optimizer.kind: [adamw, sgd]}}

Optuna's categorical choices must be plain scalars, so a list or mapping travels as its compact JSON text.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, assert_never

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

from ssl_core.config import Config, nearest
from ssl_core.errors import SpaceError

KINDS = ("choice", "float", "log", "int")
_EXACT = 2**53
"""Whole numbers up to here are exact as floating point; more steps than that are none."""


class Choice(Config):
    """One of a list of values; lists and mappings are allowed."""

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...]


class FloatRange(Config):
    """low .. high, both included; uniform, or uniform in the logarithm."""

    kind: Literal["float", "log"]
    low: float
    high: float
    step: float | None = None


class IntRange(Config):
    """low .. high, both included, in steps."""

    kind: Literal["int"] = "int"
    low: int
    high: int
    step: int = 1


Domain = Choice | FloatRange | IntRange


class Parameter(Config):
    """A key of the recipe's config, its domain, and the values other keys must have for it to take part."""

    key: str
    domain: Domain
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)


def encode(value: Any) -> Any:
    """A value as Optuna stores it: scalars as they are, lists and mappings as compact JSON."""
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return value


def distribution(domain: Domain) -> BaseDistribution:
    """The domain in Optuna's terms."""
    match domain:
        case Choice():
            return CategoricalDistribution([encode(value) for value in domain.values])
        case FloatRange():
            return FloatDistribution(domain.low, domain.high, step=domain.step, log=domain.kind == "log")
        case IntRange():
            return IntDistribution(domain.low, domain.high, step=domain.step)
        case _:
            assert_never(domain)


def suggest(domain: Domain, key: str, trial: optuna.trial.BaseTrial) -> Any:
    """Ask `trial` for this key; the answer is in Optuna's representation (see `decode`)."""
    match domain:
        case Choice():
            return trial.suggest_categorical(key, [encode(value) for value in domain.values])
        case FloatRange():
            return trial.suggest_float(key, domain.low, domain.high, step=domain.step, log=domain.kind == "log")
        case IntRange():
            return trial.suggest_int(key, domain.low, domain.high, step=domain.step)
        case _:
            assert_never(domain)


def stored(domain: Domain, value: Any) -> Any:
    """A config value that the domain contains, as Optuna stores it (see `decode`)."""
    match domain:
        case Choice():
            return next(encode(known) for known in domain.values if _same(encode(known), encode(value)))
        case FloatRange():
            return float(value)
        case IntRange():
            return int(value)
        case _:
            assert_never(domain)


def decode(domain: Domain, key: str, stored: Any) -> Any:
    """The config value of a stored one. Raises SpaceError when the domain does not hold it."""
    match domain:
        case Choice():
            for value in domain.values:
                if _same(encode(value), stored):
                    return value
        case FloatRange():
            if _is_number(stored) and domain.low <= stored <= domain.high:
                return float(stored)
        case IntRange():
            if _is_number(stored) and stored == int(stored) and domain.low <= stored <= domain.high:
                return int(stored)
        case _:
            assert_never(domain)
    raise SpaceError(f"'{key}': {stored!r} is outside {describe(domain)}")


def contains(domain: Domain, value: Any) -> bool:
    """Whether a config value (not its stored form) lies in the domain."""
    if isinstance(domain, Choice):
        return any(_same(encode(candidate), encode(value)) for candidate in domain.values)
    if not _is_number(value) or not domain.low <= value <= domain.high:
        return False
    if domain.step is None:
        return True
    steps = (value - domain.low) / domain.step
    return bool(abs(steps - round(steps)) < 1e-9)


def edges(domain: Domain) -> tuple[Any, ...]:
    """The values worth trying against the recipe at load: every choice, both ends of a range."""
    return domain.values if isinstance(domain, Choice) else (domain.low, domain.high)


def describe(domain: Domain) -> str:
    """Short text for messages and tables."""
    if isinstance(domain, Choice):
        return "{" + ", ".join(str(encode(value)) for value in domain.values) + "}"
    return f"{domain.kind} [{domain.low:g}, {domain.high:g}]"


def parse_parameter(key: str, entry: Any) -> Parameter:
    """A parameter from its YAML entry. Raises SpaceError naming the key (the caller adds the file)."""
    if not isinstance(entry, Mapping):
        raise SpaceError(f"'{key}': expected {{choice: [...]}} or {{float|log|int: [low, high]}}, got {entry!r}")
    allowed = [*KINDS, "step", "when"]
    for name in entry:
        if name not in allowed:
            raise SpaceError(
                f"'{key}': unknown word '{name}'{nearest(str(name), allowed)}; known are {', '.join(allowed)}"
            )
    kinds = [name for name in entry if name in KINDS]
    if len(kinds) != 1:
        raise SpaceError(f"'{key}': name exactly one of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}")
    kind, body = kinds[0], entry[kinds[0]]
    domain = _choice(key, body, entry) if kind == "choice" else _range(key, kind, body, entry.get("step"))
    return Parameter(key=key, domain=domain, when=_conditions(key, entry.get("when")))


def _choice(key: str, body: Any, entry: Mapping[str, Any]) -> Choice:
    if not isinstance(body, Sequence) or isinstance(body, str) or not body:
        raise SpaceError(f"'{key}': choice needs a list of at least one value, got {body!r}")
    if "step" in entry:
        raise SpaceError(f"'{key}': a choice has no step; remove it")
    stored = [encode(value) for value in body]
    for position, value in enumerate(stored):
        if not _finite(body[position]):
            raise SpaceError(f"'{key}': choice {value} is not finite")
        # 1, 1.0 and true are one choice to Optuna
        if value in stored[:position]:
            raise SpaceError(f"'{key}': choice {value!r} appears twice; keep one")
    return Choice(values=tuple(body))


def _range(key: str, kind: str, body: Any, step: Any) -> FloatRange | IntRange:
    pair = isinstance(body, Sequence) and not isinstance(body, str) and len(body) == 2
    if not pair or not all(_is_number(end) for end in body):
        raise SpaceError(f"'{key}': {kind} needs two finite numbers [low, high], got {body!r}")
    low, high = body
    if not low < high:
        raise SpaceError(
            f"'{key}': impossible range [{low}, {high}]: low must be below high (fix one value under 'base')"
        )
    if not math.isfinite(high - low) or (kind == "int" and max(-low, high) > _EXACT):
        raise SpaceError(f"'{key}': the range [{low:g}, {high:g}] is too wide; choose ends closer to each other")
    if step is not None and (not _is_number(step) or step <= 0 or step > high - low):
        raise SpaceError(f"'{key}': step {step!r} must be a number above 0 and at most {high - low:g}")
    if step is not None and (high - low) / step > _EXACT:
        raise SpaceError(f"'{key}': step {step} is too small for [{low:g}, {high:g}]; leave it out")
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
        raise SpaceError(
            f"'{key}': step {step} does not lead from {low} to {high}; choose ends that are whole steps apart"
        )
    if kind == "int":
        if any(number != int(number) for number in (low, high, step or 1)):
            raise SpaceError(f"'{key}': int needs whole numbers, got [{low}, {high}] step {step or 1}; use float")
        return IntRange(low=int(low), high=int(high), step=int(step or 1))
    if kind == "log" and low <= 0:
        raise SpaceError(f"'{key}': a log range must start above 0, got {low}")
    if kind == "log" and step is not None:
        raise SpaceError(f"'{key}': a log range has no step; remove it")
    return FloatRange(kind="log" if kind == "log" else "float", low=float(low), high=float(high), step=step)


def _conditions(key: str, body: Any) -> dict[str, tuple[Any, ...]]:
    if body is None:
        return {}
    if not isinstance(body, Mapping) or not body:
        raise SpaceError(f"'{key}': when needs other.key: value pairs, got {body!r}")
    conditions = {}
    for other, values in body.items():
        listed = tuple(values) if isinstance(values, list) else (values,)
        if not listed:
            raise SpaceError(f"'{key}': when {other}: [] can never hold; list the values that let '{key}' take part")
        conditions[str(other)] = listed
    return conditions


def _is_number(value: Any) -> bool:
    """Of which there is a floating-point number; whole numbers in Python may be larger than any."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**1023


def _finite(value: Any) -> bool:
    """Whether no number in it is NaN or infinite."""
    if isinstance(value, Mapping):
        return all(_finite(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(inner) for inner in value)
    return not isinstance(value, float) or math.isfinite(value)


def _same(left: Any, right: Any) -> bool:
    """Equal, and not `True == 1`."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
