"""Learning curves of real runs, as a file, and the study that would have met nothing but them.

    {"recipe": ..., "about": ..., "runs": [
    {"values": {"loss.beta": 0.5, ...}, "seed": 11, "seconds": [7.1, ...], "metrics": {"val/probe": [0.69, ...]}},
    ...
    ]}

Every run is of full length: whoever replays it may stop it, never go beyond it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from search_spaces.parameter import Choice, encode
from search_spaces.space import SearchSpace
from ssl_core.config import Config, validated
from ssl_core.errors import ConfigError, DataError
from study.forecast.learning_curve import Curve, draws, place

Floats = NDArray[np.float64]


class RecordedRun(Config):
    """One real trial that was trained to its end.

    Attributes:
        values: dotted config values that were searched.
        seed: it trained with.
        seconds: of each epoch.
        metrics: name -> value after each epoch.
    """

    values: dict[str, Any]
    seed: int
    seconds: tuple[float, ...]
    metrics: dict[str, tuple[float, ...]]

    @model_validator(mode="after")
    def _whole(self) -> "RecordedRun":
        if not self.seconds or any(len(curve) != len(self.seconds) for curve in self.metrics.values()):
            raise ValueError("a run needs seconds and every metric of the same epochs, at least one")
        return self

    def curve(self) -> Curve:
        """As it was."""
        rows = zip(*self.metrics.values(), strict=True)
        return Curve(tuple(dict(zip(self.metrics, row, strict=True)) for row in rows), self.seconds)


class RecordedRuns(Config):
    """A table of runs of one space and length.

    Attributes:
        recipe: whose they are.
        about: how they were made, for people.
        runs: in the order of their trials.
    """

    recipe: str
    about: str = ""
    runs: tuple[RecordedRun, ...]

    @model_validator(mode="after")
    def _alike(self) -> "RecordedRuns":
        if len({(len(run.seconds), *sorted(run.metrics)) for run in self.runs}) > 1:
            raise ValueError("all runs need the same metrics and number of epochs")
        return self

    @property
    def epochs(self) -> int:
        """Of each run."""
        return len(self.runs[0].seconds)

    def curves(self, metric: str) -> Floats:
        """[runs, epochs] of one metric."""
        return np.array([run.metrics[metric] for run in self.runs], dtype=np.float64)

    def groups(self) -> list[list[int]]:
        """Rows that share their values: repeats of one configuration over seeds."""
        found: dict[str, list[int]] = {}
        for row, run in enumerate(self.runs):
            found.setdefault(json.dumps(run.values, sort_keys=True), []).append(row)
        return list(found.values())

    def save(self, path: Path) -> None:
        """Write one run per line, so that a change of one run is a change of one line."""
        head = json.dumps({"recipe": self.recipe, "about": self.about})[:-1]
        lines = ",\n".join(run.to_json() for run in self.runs)
        path.write_text(f'{head}, "runs": [\n{lines}\n]}}\n')


def load_runs(path: Path) -> RecordedRuns:
    """Read a table. Raises DataError naming the file when it is none."""
    try:
        return validated(RecordedRuns, json.loads(path.read_text()))
    except (OSError, ValueError, ConfigError) as error:
        raise DataError(f"{path}: not a table of recorded runs ({error}); export it again") from None


def coordinates(space: SearchSpace, values: Mapping[str, Any]) -> Floats:
    """A configuration as a point: ranges from 0 to 1, each choice its own axis, so that two choices are 1 apart."""
    point: list[float] = []
    for parameter in space.parameters:
        value = values.get(parameter.key)
        if isinstance(parameter.domain, Choice):
            given = None if value is None else encode(value)
            point += [2**-0.5 * (encode(choice) == given) for choice in parameter.domain.values]
        else:
            point.append(0.5 if value is None else place(parameter, value))
    return np.array(point, dtype=np.float64)


@dataclass(frozen=True)
class NearestRun:
    """Every suggestion is trained as the recorded configuration that lies nearest to it; a seed picks the repeat.

    Nothing is invented, but the sampler believes it tried another point than it did.
    """

    space: SearchSpace
    table: RecordedRuns

    def row(self, values: Mapping[str, Any], seed: int) -> int:
        """Which run is replayed."""
        points, groups = self._places
        apart = np.linalg.norm(points - coordinates(self.space, values), axis=1)
        rows = groups[int(np.argmin(apart))]
        return rows[int(draws(values, seed, "repeat").integers(len(rows)))]

    def curve(self, values: Mapping[str, Any], seed: int) -> Curve:
        """See `CurveSource`."""
        return self.table.runs[self.row(values, seed)].curve()

    @cached_property
    def _places(self) -> tuple[Floats, list[list[int]]]:
        groups = self.table.groups()
        return np.array([coordinates(self.space, self.table.runs[rows[0]].values) for rows in groups]), groups
