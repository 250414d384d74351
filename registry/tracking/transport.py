"""What the sender needs of a tracking server, and the ways in which one can fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from registry.tracking.run_ids import RunRef


class UnreachableError(Exception):
    """Not now: nobody answers, or with an error of its own, or not to us. The text names a remedy; try again later."""


class RefusedError(Exception):
    """Never: the server understood the request and says that it will not do."""


class MissingError(Exception):
    """The run or the experiment does not exist there (any more)."""


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class Found:
    """A run as the server has it."""

    stage: Literal["active", "deleted"]
    tags: Mapping[str, str]


class Transport(Protocol):
    """One tracking server and one experiment of it. Every method may raise the three errors above."""

    @property
    def address(self) -> str:
        """The server's, without credentials."""
        ...

    def experiment(self) -> str:
        """The experiment's id; created where it is missing, restored where it was deleted."""
        ...

    def find(self, tags: Mapping[str, str]) -> RunRef | None:
        """The oldest run with all these tags."""
        ...

    def look_up(self, run_id: str) -> Found | None:
        """A run by its id, None when there is none."""
        ...

    def create(self, experiment: str, name: str, time: int, tags: Mapping[str, str]) -> RunRef:
        """A new run."""
        ...

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back."""
        ...

    def batch(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Up to 1000 items in one request, at most 100 of them parameters and 100 tags."""
        ...

    def status(self, run_id: str, status: str, end: int | None) -> None:
        """Set the status; the end's time for a terminal one."""
        ...

    def steps(self, run_id: str, metric: str) -> set[int]:
        """Steps at which the metric has a value."""
        ...

    def upload(self, run: RunRef, path: Path, name: str) -> None:
        """Store a file as artifact `name`."""
        ...
