"""Makes the runs of an MLflow server look like a study: what is missing there is told, what is there is left alone.

A `Source` says how each run shall look, from the study's own files; the server says how it does look. A run is found
by its tags before it is made, and a run that this process did not make is asked for its steps before points are added.
So a mirror may be killed at any moment and begin again. Its cursor saves work and shows how far it is, no more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isinf
from pathlib import Path
from typing import Any

from registry.tracking.address import without_credentials
from registry.tracking.connection import (
    Connection,
    RefusedError,
    UnreachableError,
    answers,
    every_page,
)
from registry.tracking.cursor import read_cursor, write_cursor
from registry.tracking.dataset_input import DatasetView, dataset_input
from registry.tracking.names import (
    KEY,
    KIND,
    PARAM_LIMIT,
    PARENT,
    STUDY,
    STUDY_RUN,
    TAG_LIMIT,
    TRIAL,
    key_of,
    own_tags,
    texts_of,
)
from registry.tracking.run_view import Point, RunView, Source
from registry.tracking.uploads import Uploads

MOST_POINTS, MOST_TEXTS, MOST_REFUSALS = 900, 50, 10
"""Of one request (MLflow takes 1000 values, 100 of each kind of text, 1 MB), and of refusals that are remembered."""


@dataclass
class _Told:
    """What a run of the server is known to have: tags, parameters, latest step of each metric, status, data set."""

    id: str
    tags: dict[str, str]
    params: set[str] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)
    status: str = "RUNNING"
    dataset: bool = False


class Mirror:
    """Tells one study to one server. One process at a time; the caller sees to that.

    `connect` opens the server and the experiment, again after every failure. `folder` keeps the cursor.
    """

    def __init__(self, source: Source, connect: Callable[[], Connection], folder: Path) -> None:
        self._source, self._connect, self._folder = source, connect, folder
        self._server: Connection | None = None
        self._found: dict[str, Any] = {}
        self._told: dict[str, _Told] = {}
        self._pending: set[str] = set()
        self.cursor = self._written = read_cursor(folder)
        self._runs = dict(self.cursor.runs)
        self._uploads = Uploads(self.cursor)
        self._pending |= set(self.cursor.waiting) & set(source.runs())

    def round(self) -> bool:
        """Tell what is new; False when there was nothing. Artifacts go last: no value waits behind a file.

        Raises:
            UnreachableError: it did not all arrive; the next round goes on.
        """
        self._pending |= self._source.poll()
        some, arrived = bool(self._pending), dict[str, Any]()
        try:
            self._open()
            for run in sorted(self._pending, key=lambda run: -1 if run == STUDY_RUN else int(run)):
                self._tell(run)
                self._pending.discard(run)
            if not self._pending:
                arrived["position"] = self._source.position
            assert self._server is not None
            self._uploads.send(self._server, self._runs)
        except UnreachableError as error:
            self._close()
            self._note(complete=False, trouble=str(error), **arrived)
            raise
        self._note(complete=False, trouble="", **arrived)
        return some or bool(self._pending)

    def finish(self) -> None:
        """Note that the study is at rest and all of it has arrived, but for artifacts that the server does not take."""
        self._note(complete=True)

    # ---- the server

    def _open(self) -> None:
        """The experiment exists, and what the server has of the study is known."""
        if self._server is not None:
            return
        with answers():
            server = self._connect()
        self._found = _runs_by_name(server, self._source.key)
        self._server = server
        ids = {run: str(found.info.run_id) for run, found in self._found.items()}
        same = {run for run, run_id in ids.items() if run_id == self._runs.get(run)}
        self._pending |= set(self._source.runs()) - same
        self._runs = ids
        self._uploads.keep(same)
        self._note(address=without_credentials(server.tracking_uri))

    def _close(self) -> None:
        self._server = None
        self._found, self._told = {}, {}

    @property
    def _client(self) -> Any:
        assert self._server is not None
        return self._server.client

    # ---- one run

    def _tell(self, run: str) -> None:
        try:
            self._show(run)
        except RefusedError:
            # somebody deleted it, alone or with its experiment: look again, bring it back or make it anew
            self._close()
            self._open()
            try:
                self._show(run)
            except RefusedError as error:
                self._refuse(f"run {run}: {error}")

    def _show(self, run: str) -> None:
        told = self._told.get(run)
        view = self._source.look(run, max(told.steps.values(), default=-1) if told else -1)
        points, infinite = _finite(view.points)
        wanted = texts_of({**view.tags, **infinite}, TAG_LIMIT)
        if told is None:
            told = self._told[run] = self._begin(run, view, wanted, points)
        points = [point for point in points if point.step > told.steps.get(point.key, -1)]
        params = {key: value for key, value in texts_of(view.params, PARAM_LIMIT).items() if key not in told.params}
        tags = {key: value for key, value in wanted.items() if told.tags.get(key) != value}
        for batch in _batches(points, params, tags):
            self._log(run, told.id, batch)
        told.params.update(params)
        told.tags.update(tags)
        told.steps.update({point.key: point.step for point in points})
        if view.dataset is not None and not told.dataset:
            self._log_dataset(run, told.id, view.dataset)
            told.dataset = True
        self._uploads.want(run, view.files)
        if view.status != told.status:
            with answers():
                if view.status == "RUNNING":
                    self._client.update_run(told.id, status="RUNNING")
                else:
                    self._client.set_terminated(told.id, status=view.status, end_time=view.ended)
            told.status = view.status

    def _begin(self, run: str, view: RunView, tags: Mapping[str, str], points: Iterable[Point]) -> _Told:
        """The run as the server has it; made, with all its tags at once, where it is not there."""
        tags = {**tags, **({} if run == STUDY_RUN else {PARENT: self._parent()})}
        found = self._found.get(run)
        if found is None:
            return self._create(run, view, tags)
        run_id = str(found.info.run_id)
        with answers():
            if found.info.lifecycle_stage == "deleted":
                self._client.restore_run(run_id)
            if found.data.tags.get(PARENT) != tags.get(PARENT):
                self._client.set_tag(run_id, PARENT, tags[PARENT])
            known = {point.key for point in points} & set(found.data.metrics)
            steps = {key: max(p.step for p in self._client.get_metric_history(run_id, key)) for key in sorted(known)}
        some = bool(found.inputs and found.inputs.dataset_inputs)
        return _Told(run_id, dict(found.data.tags), set(found.data.params), steps, found.info.status, some)

    def _create(self, run: str, view: RunView, tags: Mapping[str, str]) -> _Told:
        trial = {KIND: "study"} if run == STUDY_RUN else {KIND: "trial", TRIAL: run}
        every = {**own_tags(), KEY: self._source.key, STUDY: self._source.name, **trial, **tags}
        server = self._server
        assert server is not None
        with answers():
            made = server.client.create_run(server.experiment_id, start_time=view.began, tags=every, run_name=view.name)
        self._runs[run] = str(made.info.run_id)
        if run == STUDY_RUN:
            self._pending |= set(self._found)  # they get a new parent
        return _Told(self._runs[run], every)

    def _parent(self) -> str:
        if STUDY_RUN not in self._told:
            self._show(STUDY_RUN)
        return self._told[STUDY_RUN].id

    def _log(self, run: str, run_id: str, batch: Sequence[Any]) -> None:
        """One request. Of a batch that is refused, what will not do is found by halving it."""
        from mlflow.entities import Metric, Param, RunTag

        kinds = [[item for item in batch if isinstance(item, kind)] for kind in (Metric, Param, RunTag)]
        try:
            with answers():
                self._client.log_batch(run_id, *kinds)
        except RefusedError as error:
            self._raise_if_deleted(run_id)
            if len(batch) == 1:
                self._refuse(f"run {run}, {batch[0].key}: {error}")
                return
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                self._log(run, run_id, half)

    def _log_dataset(self, run: str, run_id: str, dataset: DatasetView) -> None:
        """Told again it is there once, as MLflow knows inputs by name and digest."""
        try:
            with answers():
                self._client.log_inputs(run_id, datasets=[dataset_input(dataset)])
        except RefusedError as error:
            self._raise_if_deleted(run_id)
            self._refuse(f"run {run}, data set {dataset.name}: {error}")

    def _raise_if_deleted(self, run_id: str) -> None:
        with answers():
            if self._client.get_run(run_id).info.lifecycle_stage == "deleted":
                raise RefusedError(f"run {run_id} was deleted")

    # ---- the cursor

    def _refuse(self, text: str) -> None:
        refusals = (*self.cursor.refusals, text)[-MOST_REFUSALS:]
        self.cursor = self.cursor.model_copy(update={"refused": self.cursor.refused + 1, "refusals": refusals})

    def _note(self, **news: Any) -> None:
        self.cursor = self.cursor.model_copy(update={"runs": dict(self._runs), **self._uploads.noted, **news})
        if self.cursor != self._written and write_cursor(self._folder, self.cursor):
            self._written = self.cursor


def _runs_by_name(server: Connection, key: str) -> dict[str, Any]:
    """The study's runs as the server has them; of two of one trial, one that was not deleted, then the older."""
    from mlflow.entities import ViewType

    words = [server.experiment_id], f"tags.`{KEY}` = '{key}'", ViewType.ALL, 1000, ["start_time ASC"]
    with answers():
        found = list(every_page(server.client.search_runs, *words))
    found.sort(key=lambda run: run.info.lifecycle_stage == "deleted")
    named: dict[str, Any] = {}
    for run in found:
        tags = run.data.tags
        name = STUDY_RUN if tags.get(KIND) == "study" else tags.get(TRIAL, "")
        if name == STUDY_RUN or name.isdecimal():
            named.setdefault(name, run)
    return named


def _finite(points: Iterable[Point]) -> tuple[list[Point], dict[str, str]]:
    """Points with usable names. An infinite value would be stored as 1.8e308 and ruin every plot: a tag names it."""
    kept, tags = [], {}
    for point in points:
        key = key_of(point.key)
        if isinf(point.value):
            tags[f"splatsweep.infinite.{key}"] = f"epoch {point.step}"
        else:
            kept.append(point._replace(key=key))
    return kept, tags


def _batches(points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> Iterator[list[Any]]:
    """MLflow's entities, as many as one request takes; points in order."""
    from mlflow.entities import Metric, Param, RunTag

    metrics = [Metric(point.key, point.value, point.time, point.step) for point in points]
    texts = [Param(*pair) for pair in params.items()], [RunTag(*pair) for pair in tags.items()]
    groups = (_chunks(metrics, MOST_POINTS), *(_chunks(kind, MOST_TEXTS) for kind in texts))
    for parts in zip_longest(*groups, fillvalue=()):
        yield [item for part in parts for item in part]


def _chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
