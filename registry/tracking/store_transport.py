"""The tracking store through MLflow's own client: the embedded SQLite file, and servers with other ways to sign in."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.connection import SIGN_IN, Connection, connect, import_mlflow, without_credentials
from registry.tracking.run_ids import RunRef
from registry.tracking.transport import Found, MissingError, Point, RefusedError, UnreachableError
from ssl_core.errors import SplatsweepError

_NEVER = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")


class StoreTransport:
    """MLflow's client at any address; see `registry.tracking.transport.Transport`.

    Args:
        address: None for the embedded store under `home`.
        home: only needed where a store may have to be made.
        experiment: its name.
    """

    def __init__(self, address: str | None, home: Path | None, experiment: str) -> None:
        # the sender has its own patience
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        self._address, self._home, self._name = address, home, experiment
        self._connection: Connection | None = None

    @property
    def address(self) -> str:
        """Of the store."""
        return without_credentials(self._address or f"sqlite:///{self._home}/mlflow.db")

    def experiment(self) -> str:
        """The experiment's id; created where it is missing, restored where it was deleted."""
        with _told():
            self._connection = connect(self._address, self._home or Path.cwd(), self._name)
            return self._connection.experiment_id

    def find(self, tags: Mapping[str, str]) -> RunRef | None:
        """The oldest run with all these tags."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        experiment = self._connected().experiment_id
        with _told():
            runs = self._client.search_runs([experiment], query, max_results=1, order_by=["start_time ASC"])
        return _ref(runs[0]) if runs else None

    def look_up(self, run_id: str) -> Found | None:
        """A run by its id."""
        try:
            with _told():
                run = self._client.get_run(run_id)
        except MissingError:
            return None
        return Found("deleted" if run.info.lifecycle_stage == "deleted" else "active", dict(run.data.tags))

    def create(self, experiment: str, name: str, time: int, tags: Mapping[str, str]) -> RunRef:
        """A new run."""
        with _told():
            return _ref(self._client.create_run(experiment, start_time=time, tags=dict(tags), run_name=name))

    def restore(self, run_id: str) -> None:
        """Bring a deleted run back."""
        with _told():
            self._client.restore_run(run_id)

    def batch(self, run_id: str, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """All in one request."""
        from mlflow.entities import Metric, Param, RunTag

        with _told():
            self._client.log_batch(
                run_id,
                metrics=[Metric(p.key, p.value, p.time, p.step) for p in points],
                params=[Param(key, value) for key, value in params.items()],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )

    def status(self, run_id: str, status: str, end: int | None) -> None:
        """Set the status."""
        with _told():
            if end is None:
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status=status, end_time=end)

    def steps(self, run_id: str, metric: str) -> set[int]:
        """Steps at which the metric has a value."""
        with _told():
            return {int(point.step) for point in self._client.get_metric_history(run_id, metric)}

    def upload(self, run: RunRef, path: Path, name: str) -> None:
        """To the run's artifacts; the name may differ from the file's."""
        import tempfile

        folder, _, last = name.rpartition("/")
        with _told(), tempfile.TemporaryDirectory() as scratch:
            named = Path(scratch, last)
            named.symlink_to(path.resolve())
            self._client.log_artifact(run.id, str(named), folder or None)

    @property
    def _client(self) -> Any:
        return self._connected().client

    def _connected(self) -> Connection:
        if self._connection is None:
            self.experiment()
        assert self._connection is not None
        return self._connection


@contextmanager
def _told() -> Iterator[None]:
    """MLflow's errors as the three that the sender knows."""
    mlflow_error = import_mlflow().MlflowException
    try:
        yield
    except mlflow_error as error:
        text, code = " ".join(str(error).split())[:400], getattr(error, "error_code", "")
        if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise MissingError(text) from None
        if code in _NEVER:
            raise RefusedError(text) from None
        denied = code in ("PERMISSION_DENIED", "UNAUTHENTICATED")
        raise UnreachableError(f"{text}; {SIGN_IN}" if denied else text) from None
    except (SplatsweepError, OSError) as error:
        raise UnreachableError(" ".join(str(error).split())[:400]) from None


def _ref(run: Any) -> RunRef:
    return RunRef(str(run.info.run_id), str(run.info.artifact_uri))
