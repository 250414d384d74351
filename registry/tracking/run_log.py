"""The run log: one MLflow run per study, one nested run per trial, evaluations in their trials.

A study is shown by `registry.tracking.mirror`, in a process of its own. What is here is for what comes after a study
(registering, evaluating, pulling): it asks the server and waits for the answer.
"""

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.tracking.address import checked_address, without_credentials
from registry.tracking.artifact_root import reading, writing
from registry.tracking.connection import (
    Client,
    Connection,
    connect,
    every_page,
    explained,
    is_gone,
)
from registry.tracking.database import NoRegistryError
from registry.tracking.dataset_input import DatasetView, dataset_input
from registry.tracking.embedded_store import embedded_address
from registry.tracking.names import PARAM_LIMIT, PARENT, TAG_LIMIT, RunStatus, own_tags, texts_of
from ssl_core.errors import RegistryError

EXPERIMENT = "splatsweep"


def open_run_log(
    tracking_uri: str | None, home: Path, experiment: str = EXPERIMENT, *, reading: bool = False
) -> "RunLog":
    """The run log at an MLflow address, or the embedded one under `home` for None. Nothing is asked of it yet.

    `reading`: nothing is made or written by opening it, so the home folder may be one that may not be written.

    Raises:
        RegistryError, MissingDependencyError: MLflow cannot be at such an address (`checked_address`).
    """
    return RunLog(checked_address(tracking_uri), home, experiment, reading=reading)


class RunLog:
    """What happened, in MLflow. Thread-safe; made by `open_run_log`."""

    def __init__(self, tracking_uri: str | None, home: Path, experiment: str, *, reading: bool = False) -> None:
        self._given, self._home, self._experiment, self._reading = tracking_uri, home.resolve(), experiment, reading
        self._connection: Connection | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept open: every write was answered."""

    @property
    def connection(self) -> Connection:
        """To the server, opened when first needed.

        Raises:
            NoRegistryError: opened for reading, and nothing was ever registered here.
            RegistryError: no server answers there, or it refuses.
            StorageError: the database is busy or damaged, or the home folder cannot be written.
        """
        with self._opening:
            if self._connection is None:
                self._connection = connect(self._given, self._home, self._experiment, reading=self._reading)
            return self._connection

    @property
    def client(self) -> Client:
        """The `MlflowClient`, for `EncoderStore`. Raises as `connection`."""
        return self.connection.client

    @property
    def home(self) -> Path:
        """Folder of the embedded store, and of what is kept between evaluations."""
        return self._home

    @property
    def tracking_uri(self) -> str:
        """The address, as given or of the embedded store."""
        return self._given or embedded_address(self._home)

    @property
    def address(self) -> str:
        """The same without credentials, as it is kept in files."""
        return without_credentials(self.tracking_uri)

    @property
    def settings(self) -> dict[str, str | None]:
        """How another process reaches the same runs: address (None for the embedded store), home and experiment."""
        return {"address": self._given, "home": str(self._home), "experiment": self._experiment}

    # ---- runs, at once

    def start_run(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """Id of a new run. Raises RegistryError: the server refuses or does not answer; here and below."""
        from mlflow.entities import Param

        with explained(f"creating run '{name}'"):
            tags = {**own_tags(), **texts_of(tags, TAG_LIMIT)}
            run = self.client.create_run(self.connection.experiment_id, tags=tags, run_name=name)
            values = [Param(key, value) for key, value in texts_of(params, PARAM_LIMIT).items()]
            for start in range(0, len(values), 100):
                self.client.log_batch(run.info.run_id, params=values[start : start + 100])
        return str(run.info.run_id)

    def start_nested(self, parent_run_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """Id of a new run nested in another, for example an evaluation."""
        return self.start_run(name, {PARENT: parent_run_id, **tags}, params)

    def finish(self, run_id: str, status: RunStatus) -> None:
        """Give the run a terminal status."""
        with explained(f"ending run {run_id}"):
            self.client.set_terminated(run_id, status=status)

    def log_dataset(self, run_id: str, dataset: DatasetView) -> None:
        """List the data set among the run's inputs; told twice it is there once."""
        with explained(f"noting the data set of run {run_id}"):
            self.client.log_inputs(run_id, datasets=[dataset_input(dataset)])

    def log_file(self, run_id: str, path: Path) -> None:
        """Copy one file into the run's artifacts."""
        with explained(f"storing {path.name} with run {run_id}"), writing(self.connection, run_id):
            self.client.log_artifact(run_id, str(path))

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Write a text as artifact `name` (folders with /) of the run."""
        with explained(f"storing {name} with run {run_id}"), writing(self.connection, run_id):
            self.client.log_text(run_id, text, name)

    def find_run(self, run_id: str) -> Any:
        """A run, or None where there is none (any more)."""
        if not run_id:
            return None
        try:
            with explained(f"reading run {run_id}"):
                return self.client.get_run(run_id)
        except RegistryError as error:
            if is_gone(error):
                return None
            raise

    def find_runs(self, tags: Mapping[str, str]) -> list[Any]:
        """Runs with these tags, oldest first. Values are digests or checked names: no quotes in them."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        with explained(f"looking for runs where {query}"):
            try:
                search, experiment = self.client.search_runs, self.connection.experiment_id
            except NoRegistryError:
                return []
            if not experiment:
                return []
            return list(every_page(search, [experiment], query, max_results=500, order_by=["start_time ASC"]))

    def read_file(self, run_id: str, name: str) -> bytes:
        """An artifact of a run. Raises RegistryError, StorageError where it is not there or cannot be read."""
        what, there = f"reading {name} of run {run_id}", self.connection
        with tempfile.TemporaryDirectory() as scratch, explained(what), reading(there, there.root):
            path = there.artifacts.download_artifacts(
                run_id=run_id, artifact_path=name, dst_path=scratch, tracking_uri=there.tracking_uri
            )
            return Path(path).read_bytes()
