"""A tracking server in memory with MLflow's rules, for the laws of delivery: what it is told twice it has once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from registry.tracking.run_ids import RunRef
from registry.tracking.transport import Found, MissingError, Point, RefusedError


@dataclass
class Run:
    """As the server has it."""

    name: str
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=lambda: ["RUNNING"])
    deleted: bool = False


class MemoryServer:
    """A `registry.tracking.transport.Transport`. `before` and `after` every write may raise: a cut connection."""

    def __init__(self, address: str = "memory") -> None:
        self.address = address
        self.runs: dict[str, Run] = {}
        self.experiments = {"1": "active"}
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.requests = 0
        self.poison: str | None = None

    def by_trial(self, trial: str) -> list[Run]:
        """Runs of a trial, or of the study."""
        if trial == "study":
            return [run for run in self.runs.values() if run.tags.get("splatsweep.kind") == "study"]
        return [run for run in self.runs.values() if run.tags.get("splatsweep.trial") == trial]

    def experiment(self) -> str:
        self.before()
        for number, stage in self.experiments.items():
            if stage == "deleted":
                for run in self.runs.values():
                    run.deleted = False
            self.experiments[number] = "active"
            return number
        number = "2"
        self.experiments[number] = "active"
        return number

    def delete_experiment(self, *, for_ever: bool) -> None:
        """As a person would do it in the pages."""
        if for_ever:
            self.experiments.clear()
            self.runs.clear()
            return
        self.experiments = dict.fromkeys(self.experiments, "deleted")
        for run in self.runs.values():
            run.deleted = True

    def find(self, tags: Mapping[str, str]) -> RunRef | None:
        self.before()
        for run_id, run in self.runs.items():
            if not run.deleted and tags.items() <= run.tags.items():
                return RunRef(run_id, "there")
        return None

    def look_up(self, run_id: str) -> Found | None:
        self.before()
        run = self.runs.get(run_id)
        return None if run is None else Found("deleted" if run.deleted else "active", dict(run.tags))

    def create(self, experiment: str, name: str, time: int, tags: Mapping[str, str]) -> RunRef:
        self._write()
        if experiment not in self.experiments:
            raise MissingError("no such experiment")
        if self.experiments[experiment] != "active":
            raise RefusedError("the experiment must be in the 'active' state")
        run_id = f"run{len(self.runs)}-{self.requests}"
        self.runs[run_id] = Run(name, dict(tags))
        self.after()
        return RunRef(run_id, "there")

    def restore(self, run_id: str) -> None:
        self._write()
        self.runs[run_id].deleted = False
        self.after()

    def batch(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        self._write()
        run = self._active(run_id)
        assert len(points) + len(params) + len(tags) <= 1000
        assert len(params) <= 100
        assert len(tags) <= 100
        if any(point.key == self.poison for point in points):
            raise RefusedError("this value will never do")
        if any(run.params.get(key, value) != value for key, value in params.items()):
            raise RefusedError("parameters do not change")
        run.params |= params
        run.tags |= tags
        known = {repr(point) for point in run.points}
        run.points += [point for point in points if repr(point) not in known]
        self.after()

    def status(self, run_id: str, status: str, end: int | None) -> None:
        self._write()
        self._active(run_id).statuses.append(status)
        self.after()

    def steps(self, run_id: str, metric: str) -> set[int]:
        self.before()
        return {point.step for point in self._active(run_id).points if point.key == metric}

    def upload(self, run: RunRef, path: Path, name: str) -> None:
        self._write()
        self._active(run.id).artifacts[name] = path.read_bytes()
        self.after()

    def _write(self) -> None:
        self.requests += 1
        self.before()

    def _active(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise MissingError("no such run")
        if self.runs[run_id].deleted:
            raise RefusedError("the run must be in the 'active' state")
        return self.runs[run_id]
