"""The door to MLflow: one client for one tracking address, opened without races and without endless waits.

Embedded (no address given): a sqlite file under the home folder, artifacts beside it. Creating that file
runs MLflow's migrations, which several processes must not do at once; a file lock sees to it. A server: its
address is tried first with a short time limit, because MLflow's own retries take minutes to say that nobody
is there.
"""

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock

from ssl_core.errors import RegistryError, StorageError

Client = Any
"""`mlflow.MlflowClient`; the library is untyped and takes seconds to import, so imported where used."""

ANSWER_SECONDS = 10.0
SIGN_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
EXPERIMENT_TAGS = {
    # the kind selects MLflow's pages for training; unset, it guesses and shows those for chat applications
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Self-supervised pretraining studies: one run per study, its trials nested in it, "
    "evaluations in their trial.",
}


@dataclass(frozen=True)
class Connection:
    """One tracking address with its experiment."""

    client: Client
    tracking_uri: str
    experiment_id: str
    experiment: str


def connect(tracking_uri: str | None, home: Path, experiment: str) -> Connection:
    """Open (and on first use create) the tracking store and the experiment.

    Args:
        tracking_uri: an MLflow address; None for `sqlite:///<home>/mlflow.db`.
        home: folder of the embedded store, of its artifacts and of the lock.
        experiment: name; created where it is missing, restored where it was deleted.

    Raises:
        RegistryError: the server does not answer, or the store is not one that MLflow accepts.
        StorageError: the home folder cannot be written.
    """
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write to {home}: {error}; set SPLATSWEEP_HOME to another folder") from None
    embedded = not tracking_uri
    address = tracking_uri or embedded_address(home)
    if address.startswith(("http://", "https://")):
        _knock(address)
    mlflow = import_mlflow()
    with FileLock(home / "mlflow.lock"), explained(f"MLflow at {address}"), _whole_store(home if embedded else None):
        client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
        experiment_id = _experiment(client, experiment, (home / "mlartifacts").as_uri() if embedded else None)
    return Connection(client, address, experiment_id, experiment)


@contextmanager
def _whole_store(home: Path | None) -> Iterator[None]:
    """A store whose making was cut short is made anew: MLflow cannot go on with half of its tables.

    Nothing can be in it: the mark goes before anybody else is let in.
    """
    if home is None:
        yield
        return
    store, mark = home / "mlflow.db", home / ".mlflow.db.unfinished"
    if mark.exists():
        for tail in ("", "-journal", "-wal", "-shm"):
            (home / f"mlflow.db{tail}").unlink(missing_ok=True)
    if not store.exists():
        mark.touch()
    yield
    mark.unlink(missing_ok=True)


def embedded_address(home: Path) -> str:
    """Of the store under a home folder."""
    return f"sqlite:///{home.resolve() / 'mlflow.db'}"


def import_mlflow() -> Any:
    """MLflow, quiet: no usage reports (unless the user wants them), no migration log, no progress bars."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow

    for name in ("alembic", "alembic.runtime.migration", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


@contextmanager
def explained(what: str) -> Iterator[None]:
    """MLflow's and the database's exceptions leave as one-line RegistryErrors naming the task."""
    import_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        remedy = f"; {SIGN_IN}" if getattr(error, "error_code", "") in _REFUSED else ""
        raise RegistryError(f"{what}: {_first_line(error)}{remedy}") from error
    except requests.HTTPError as error:  # of artifacts, which MLflow lets through as it is
        refused = error.response is not None and error.response.status_code in (401, 403)
        remedy = f"; {SIGN_IN}" if refused else ""
        raise RegistryError(f"{what}: {without_credentials(_first_line(error))}{remedy}") from error
    except OSError as error:
        raise StorageError(f"{what}: {error}; free some space or make the folder writable") from error


def without_credentials(address: str) -> str:
    """The address without user and password, for files and messages."""
    scheme, separator, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"


def is_missing(error: BaseException) -> bool:
    """Whether an MLflow exception says that the thing does not exist."""
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


def is_invalid(error: BaseException) -> bool:
    """Whether an MLflow exception says that what was asked for can be nothing: the same again gets the same answer."""
    return getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"


def _experiment(client: Client, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _knock(address: str) -> None:
    """One request with a short limit. Any HTTP answer will do, a refusal included: somebody is there."""
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"no MLflow server answers at {address} ({error}); start it, correct MLFLOW_TRACKING_URI, "
            "or unset it to use the embedded store"
        ) from None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:400] if text else type(error).__name__
