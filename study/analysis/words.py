"""Numbers and config values in the few characters that a table or a line has room for."""

from collections import Counter
from typing import Any

from study.spec.outcome import Outcome

COLOURS = {
    Outcome.COMPLETE: "green",
    Outcome.STOPPED: "yellow",
    Outcome.INFEASIBLE: "magenta",
    Outcome.DIVERGED: "red",
    Outcome.CRASHED: "red",
}
"""Of outcomes on a terminal."""


def clock_text(seconds: float) -> str:
    """`1:05:09`, `2:07` or `9 s`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{left:02d}"
    return f"{minutes}:{left:02d}" if minutes else f"{left} s"


def values_text(values: dict[str, Any], *, brief: bool = False) -> str:
    """`loss.beta=1.2  optimizer.kind=sgd`; brief: `beta=1.2  kind=sgd`, with more of the key where it is needed."""
    names = {key: key for key in values}
    if brief:
        ends = Counter(key.split(".")[-1] for key in values)
        names = {key: ".".join(key.split(".")[-1 - (ends[key.split(".")[-1]] > 1) :]) for key in values}
    return "  ".join(f"{names[key]}={short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    """A config value in few characters: four digits, lists joined by +."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "+".join(str(part) for part in value)
    return str(value)
