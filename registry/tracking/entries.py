"""What a study has to tell the tracking server, one line of JSON each: the letters in an outbox.

A run is named by the study, not by the server: `study` is the parent run, `7` the run of trial 7. Times are fixed
when an entry is made, so that sending it twice says the same thing twice.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
STUDY_RUN = "study"


@dataclass(frozen=True, slots=True)
class Start:
    """The run begins, or goes on. Parameters are of its first beginning."""

    run: str
    time: int
    """milliseconds since 1970, here and below"""
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Points:
    """Metrics of one step. `again`: told for the second time; only what the server lacks is to be sent."""

    run: str
    time: int
    step: int
    metrics: Mapping[str, float]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Tags:
    """Tags of the run."""

    run: str
    time: int
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Text:
    """A text artifact; `name` may have folders."""

    run: str
    time: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class File:
    """A file artifact. `ours`: a copy made for the outbox, to be removed when it is sent."""

    run: str
    time: int
    name: str
    path: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The run ends, for now or for ever."""

    run: str
    time: int
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)


Entry = Start | Points | Tags | Text | File | Finish
_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (Start, Points, Tags, Text, File, Finish)}


def encode(entry: Entry) -> str:
    """One line of JSON without its end."""
    fields = {name: getattr(entry, name) for name in entry.__slots__}  # `asdict` copies every metric first
    return json.dumps({"kind": type(entry).__name__, **fields}, separators=(",", ":"))


def decode(line: str | bytes) -> Entry:
    """Inverse of `encode`. Raises ValueError for anything else."""
    try:
        fields = json.loads(line)
        made: Entry = _KINDS[fields.pop("kind")](**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an entry of an outbox: {error}") from None
    return made


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
