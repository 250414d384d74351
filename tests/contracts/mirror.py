"""What every mirror of a study owes the server that it tells, whatever dies in between."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from registry.tracking.connection import Connection, UnreachableError, connect
from registry.tracking.dataset_input import DatasetView
from registry.tracking.mirror import Mirror
from registry.tracking.names import KEY, PARENT, STUDY_RUN, TRIAL
from registry.tracking.run_view import Point, RunView

Connect = Callable[[], Connection]
BEGAN = 1_790_000_000_000
PACK = DatasetView("mine", "0123456789abcdef", "s3://bucket/mine")


@dataclass
class Played:
    """A study in memory: `play` adds facts, and the source tells them as a study's folder does."""

    key: str
    name: str = "played"
    views: dict[str, RunView] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    position: int = 0

    def begin(self, run: str, **params: object) -> None:
        """A run begins, or goes on."""
        name = self.name if run == STUDY_RUN else f"trial-{int(run):03d}"
        view = RunView(name, {"splatsweep.outcome": "RUNNING"}, params, (), "RUNNING", BEGAN, dataset=PACK)
        self.show(run, view)

    def show(self, run: str, view: RunView) -> None:
        """A run looks like this from now on, its points apart, which are added."""
        known = self.views.get(run)
        self.views[run] = view if known is None else _replaced(view, points=(*known.points, *view.points))
        self.facts.append(run)

    def point(self, run: str, step: int, **metrics: float) -> None:
        """One step."""
        points = tuple(Point(key, value, BEGAN + step, step) for key, value in metrics.items())
        self.show(run, _replaced(self.views[run], points=points))

    def end(self, run: str, status: str = "FINISHED", **tags: str) -> None:
        """The end of a run, with an artifact."""
        view = self.views[run]
        files = {**view.files, "folder/curve.txt": f"curve of {run}"}
        tags = {**view.tags, "splatsweep.outcome": "COMPLETE", **tags}
        self.show(run, _replaced(view, status=status, ended=BEGAN + 999, tags=tags, files=files, points=()))

    def again(self) -> "Played":
        """As the source of the next process."""
        return Played(self.key, self.name, self.views, self.facts)

    def poll(self) -> set[str]:
        """See `Source`."""
        touched = set(self.facts[self.position :])
        self.position = len(self.facts)
        return touched

    def runs(self) -> Iterable[str]:
        """See `Source`."""
        return list(dict.fromkeys(self.facts))

    def look(self, run: str, after: int) -> RunView:
        """See `Source`."""
        view = self.views[run]
        return _replaced(view, points=tuple(point for point in view.points if point.step > after))


def _replaced(view: RunView, **news: Any) -> RunView:
    return RunView(**{**{name: getattr(view, name) for name in RunView.__dataclass_fields__}, **news})


def play(source: Played, trials: int = 2, epochs: int = 3) -> None:
    """A short study of several trials, all ended."""
    source.begin(STUDY_RUN, trials=trials)
    for trial in map(str, range(trials)):
        source.begin(trial, lr=0.5, odd=f"text of {trial}")
        for epoch in range(1, epochs + 1):
            source.point(trial, epoch, loss=1.0 / epoch, probe=float(epoch), nan=math.nan)
        source.end(trial)
        source.point(STUDY_RUN, int(trial) + 1, total=float(trial))
    source.end(STUDY_RUN)


def tell(source: Played, connecting: Connect, folder: Path) -> Mirror:
    """All of it, by a new process as it were."""
    mirror = Mirror(source.again(), connecting, folder)
    while mirror.round():
        pass
    mirror.finish()
    return mirror


def runs_of(connection: Connection, key: str) -> dict[str, Any]:
    """The study's runs by name; asserts that none is there twice."""
    found = connection.client.search_runs([connection.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1000)
    names = [run.data.tags.get(TRIAL, STUDY_RUN) for run in found]
    assert len(set(names)) == len(names), "a run is there twice"
    return dict(zip(names, found, strict=True))


def assert_mirrored(source: Played, connection: Connection) -> None:
    """One run each, nested, with exactly its points in order, first parameters, last tags, data set, artifacts, end."""
    client = connection.client
    found = runs_of(connection, source.key)
    assert set(found) == set(source.views)
    for name, view in source.views.items():
        run = found[name]
        assert (run.info.run_name, run.info.status) == (view.name, view.status)
        assert run.data.tags.get(PARENT) == (None if name == STUDY_RUN else found[STUDY_RUN].info.run_id)
        assert {key: run.data.tags.get(key) for key in view.tags} == view.tags
        assert run.data.params == {key: str(value) for key, value in view.params.items()}
        assert set(run.data.metrics) == {point.key for point in view.points}
        for key in run.data.metrics:
            history = [(p.step, repr(p.value)) for p in client.get_metric_history(run.info.run_id, key)]
            assert history == [(p.step, repr(p.value)) for p in view.points if p.key == key]
        inputs = [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs]
        assert inputs == ([] if view.dataset is None else [view.dataset[:2]])
        if view.files:
            assert [item.path for item in client.list_artifacts(run.info.run_id, "folder")] == ["folder/curve.txt"]


class PowerCut(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Cut:
    """What goes wrong at the `at`-th call of a process: it dies, or does not hear the answer; done by then or not."""

    at: int
    done: bool
    dies: bool
    forgets: bool = False
    """the cursor is lost too"""


class Failing:
    """A client of a real server on which one call fails."""

    def __init__(self, client: Any, cut: Cut) -> None:
        self._client, self._cut, self._calls = client, cut, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._calls += 1
            if self._calls != self._cut.at:
                return real(*arguments, **named)
            if self._cut.done:
                real(*arguments, **named)
            raise PowerCut if self._cut.dies else ConnectionError("the wire was cut")

        return call


def tell_with(cuts: Iterable[Cut], source: Played, connecting: Connect, folder: Path) -> None:
    """Tell it all, by as many processes as die on the way."""
    for cut in cuts:
        connection = connecting()
        failing = Connection(Failing(connection.client, cut), connection.tracking_uri, connection.experiment_id, "x")
        mirror = Mirror(source.again(), partial(_same, failing), folder)
        try:
            while _round(mirror):
                pass
        except PowerCut:
            if cut.forgets:
                (folder / "mirror.json").unlink(missing_ok=True)
    tell(source, connecting, folder)


def _round(mirror: Mirror) -> bool:
    try:
        return mirror.round()
    except UnreachableError:
        return True


def _same(connection: Connection) -> Connection:
    return connection


def at(address: str | None, home: Path, experiment: str = "mirrored") -> Connect:
    """How a server is reached."""
    return partial(connect, address, home, experiment)
