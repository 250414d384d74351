"""What a simulated trial would report, and how it may fail."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np


@dataclass(frozen=True)
class Mishap:
    """Something that goes wrong in a trial.

    Attributes:
        kind: `crash` the attempt dies without a report; `oom` the same for want of memory, until the share of the
            resources is `share`; `diverge` a metric becomes non-finite; `refuse` the session cannot be opened.
        epoch: in which it happens.
        times: attempts that crash; later ones go on.
        share: multiple of the per-trial resources that would be enough.
    """

    kind: Literal["crash", "oom", "diverge", "refuse"]
    epoch: int = 1
    times: int = 1
    share: float = 2.0


@dataclass(frozen=True)
class Curve:
    """A trial's whole life, if nobody stops it.

    Attributes:
        metrics: of each epoch, the first first; finite.
        seconds: that each epoch takes.
        mishap: what goes wrong, if anything.
    """

    metrics: tuple[Mapping[str, float], ...]
    seconds: tuple[float, ...]
    mishap: Mishap | None = None

    def __post_init__(self) -> None:
        if not self.metrics or len(self.metrics) != len(self.seconds):
            raise ValueError(
                f"a curve needs metrics and seconds of the same epochs, at least one: "
                f"{len(self.metrics)} and {len(self.seconds)} were given"
            )

    @property
    def epochs(self) -> int:
        """From beginning to end."""
        return len(self.metrics)


class CurveSource(Protocol):
    """Where learning curves come from. The same values and seed give the same curve."""

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """The curve of a trial with these dotted config values.

        Raises:
            ConfigError: they are refused when the session is opened.
        """
        ...


def draws(values: Mapping[str, Any], seed: int, purpose: str = "") -> np.random.Generator:
    """Random numbers that belong to a configuration, a seed and a purpose, on any machine and in any order."""
    text = json.dumps([dict(values), seed, purpose], sort_keys=True)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
