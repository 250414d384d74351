"""How the runs of a study shall look, told by the study's own files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from registry.tracking.dataset_input import DatasetView
from registry.tracking.names import RunState


class Point(NamedTuple):
    """One value of one metric; `time` in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class RunView:
    """How a run shall look."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, Any]  # told once; later values of the same name are left out, as MLflow wants it
    points: Sequence[Point]  # of each metric in order of steps
    status: RunState
    # began and ended: milliseconds since 1970
    began: int
    ended: int | None = None
    # artifacts by name, a text or a file; the name ends like the file's. A file that is gone is left out
    files: Mapping[str, str | Path] = field(default_factory=dict)
    dataset: DatasetView | None = None


class Source(Protocol):
    """A study as its own files tell it."""

    @property
    def key(self) -> str:
        """In the tags of the study's runs, and of no other study's."""

    @property
    def name(self) -> str:
        """The study's name."""

    @property
    def position(self) -> int:
        """How many facts `poll` has taken in."""

    def poll(self) -> set[str]:
        """Take in what is new; the runs that it is about."""

    def runs(self) -> Iterable[str]:
        """All runs so far."""

    def look(self, run: str, after: int) -> RunView:
        """A run as it shall look. Points of steps up to `after` may be left out."""
