"""The run log: one MLflow run per study, one nested run per trial, and nothing that makes a trial wait.

Synchronous, because the answer is needed or the file may vanish: creating and finding runs, files, texts.
Through the queue of `registry.writer`, in order: metrics of an epoch, tags, final status. Starting a study
or a trial that is already there reopens it, so that a resumed study continues its own runs.
"""

import getpass
import hashlib
import math
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from registry.connection import Client, Connection, connect, explained
from registry.writer import Write, Writer

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
KIND, STUDY, TRIAL = "splatsweep.kind", "splatsweep.study", "splatsweep.trial"
PARENT = "mlflow.parentRunId"
PARAM_LIMIT, TAG_LIMIT = 6000, 4900
FLUSH_SECONDS = 60.0
PATIENCE = 10.0


def open_run_log(tracking_uri: str | None, home: Path, experiment: str = "splatsweep") -> "RunLog":
    """Open the run log at an MLflow address, or the embedded one under `home` for None.

    Raises:
        RegistryError: no server answers there, or it refuses.
        StorageError: `home` cannot be written.
    """
    connection = connect(tracking_uri, home, experiment)
    address = hashlib.sha256(connection.tracking_uri.encode()).hexdigest()[:8]
    return RunLog(connection, Writer(connection.client, home.resolve() / f"unsent-{address}.jsonl"))


class RunLog:
    """What happened, in MLflow. Thread-safe; made by `open_run_log`, closed by `close` or a `with` block."""

    def __init__(self, connection: Connection, writer: Writer) -> None:
        self.connection = connection
        self._writer = writer
        self._starting = threading.Lock()

    @property
    def client(self) -> Client:
        """The `MlflowClient`, for `EncoderStore`."""
        return self.connection.client

    @property
    def tracking_uri(self) -> str:
        """The address, as given or of the embedded store."""
        return self.connection.tracking_uri

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # runs

    def start_study(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """The study's run id; a study of that name is reopened."""
        with self._starting:
            found = self.find_study(name)
            if found is not None:
                self.reopen(found)
                self.set_tags(found, tags)
                return found
            return self._create(name, {KIND: "study", STUDY: name, **tags}, params)

    def start_trial(self, study_run_id: str, number: int, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """The trial's run id, nested in the study's; the run of the same number is reopened, not doubled."""
        with self._starting:
            query = f"tags.`{PARENT}` = '{study_run_id}' and tags.`{TRIAL}` = '{number}'"
            for run in self._search(query):
                self.reopen(run.info.run_id)
                self.set_tags(run.info.run_id, tags)
                return str(run.info.run_id)
            own = {KIND: "trial", TRIAL: str(number), PARENT: study_run_id}
            return self._create(f"trial-{number:03d}", {**own, **tags}, params)

    def start_nested(self, parent_run_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        """A new run nested in another, for example an evaluation. Always a new one."""
        return self._create(name, {PARENT: parent_run_id, **tags}, params)

    def reopen(self, run_id: str) -> None:
        """Set the run back to RUNNING."""
        with explained(f"reopening run {run_id}"):
            self.flush(PATIENCE)
            self.client.update_run(run_id, status="RUNNING")

    def finish(self, run_id: str, status: RunStatus, tags: Mapping[str, str] | None = None) -> None:
        """Give the run its last tags and a terminal status, after all that was reported before."""
        self._put(Write(run_id, _now(), tags=_tags(tags or {}), status=status))
        self._settle()

    def find_study(self, name: str) -> str | None:
        """Run id of the study with this name, None if there is none."""
        # compared here: MLflow's filter language has no way to write a quote inside a value
        studies = self._search(f"tags.`{KIND}` = 'study'")
        return next((str(run.info.run_id) for run in studies if run.data.tags.get(STUDY) == name), None)

    def running(self, study_run_id: str) -> list[str]:
        """Ids of the study's nested runs that are still RUNNING."""
        self.flush(PATIENCE)
        query = f"tags.`{PARENT}` = '{study_run_id}' and attributes.status = 'RUNNING'"
        return [str(run.info.run_id) for run in self._search(query)]

    # what is written into runs

    def log_epoch(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Queue the metrics of one epoch (step = epoch); returns at once.

        NaN is kept as such. An infinite value would be stored as 1.8e308 and ruin every plot: it is left
        out and named in the tag `splatsweep.infinite.<metric>`.
        """
        clean = {_key(name): float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in clean.items() if not math.isinf(value)}
        tags = {f"splatsweep.infinite.{name}": f"epoch {epoch}" for name in clean if name not in finite}
        self._put(Write(run_id, _now(), epoch, finite, tags))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags; an answering server has them when this returns, another gets them later."""
        if tags:
            self._put(Write(run_id, _now(), tags=_tags(tags)))
            self._settle()

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Copy one file into the run's artifacts, under `folder` if given.

        Raises:
            RegistryError, StorageError: it could not be stored.
        """
        with explained(f"storing {path.name} with run {run_id}"):
            self.client.log_artifact(run_id, str(path), folder or None)

    def log_text(self, run_id: str, text: str, name: str) -> None:
        """Write a text as artifact `name` (folders with /) of the run. Raises as `log_file`."""
        with explained(f"storing {name} with run {run_id}"):
            self.client.log_text(run_id, text, name)

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all queued reports are sent; False if the server did not take them in time."""
        return self._writer.wait(seconds)

    def close(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Flush and stop. False: what could not be sent is kept in a file for the next opening."""
        return self._writer.close(seconds if self._writer.healthy else min(seconds, PATIENCE))

    # inside

    def _put(self, write: Write) -> None:
        self._writer.put(write)

    def _settle(self) -> None:
        """Wait for a server that answers; do not wait for one that does not."""
        if self._writer.healthy:
            self._writer.wait(PATIENCE)

    def _create(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        ours = {"mlflow.user": _user(), "mlflow.source.name": "splatsweep", "mlflow.source.type": "LOCAL"}
        with explained(f"creating run '{name}'"):
            run = self.client.create_run(self.connection.experiment_id, tags={**ours, **_tags(tags)}, run_name=name)
            values = [Param(_key(key), _short(str(value), PARAM_LIMIT)) for key, value in params.items()]
            for start in range(0, len(values), 100):
                self.client.log_batch(run.info.run_id, params=values[start : start + 100])
        return str(run.info.run_id)

    def _search(self, query: str) -> list[Any]:
        found: list[Any] = []
        token: str | None = None
        with explained("looking for runs"):
            while True:
                page = self.client.search_runs(
                    [self.connection.experiment_id],
                    query,
                    max_results=1000,
                    order_by=["start_time ASC"],
                    page_token=token,
                )
                found.extend(page)
                token = page.token
                if not token:
                    return found


def _now() -> int:
    return int(time.time() * 1000)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return "unknown"


def _key(name: str) -> str:
    """MLflow takes letters, digits and `_-. :/` in names; anything else becomes an underscore."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def _short(text: str, limit: int) -> str:
    """Texts over the limit keep their beginning and a digest of the whole, so they can be told apart."""
    if len(text) <= limit:
        return text
    return f"{text[:200]}… [{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}]"


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_key(name): _short(str(value), TAG_LIMIT) for name, value in tags.items()}
