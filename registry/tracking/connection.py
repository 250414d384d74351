"""MLflow's client for one tracking address, its errors as ours, and what its calls lack: pages, writes made again.

Embedded (no address given): a SQLite file under the home folder, artifacts beside it. Creating that file runs MLflow's
migrations, which several processes must not do at once: a file lock. A server: its address is tried first with a short
time limit, because MLflow's own retries take minutes to say that nobody is there.
"""

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock

from registry.tracking.address import check_database, is_database, without_credentials
from registry.tracking.server_words import TOO_LARGE, status_of, words_of
from ssl_core.errors import RegistryError, SplatsweepError, StorageError

Client = Any
"""`mlflow.MlflowClient`; the library is untyped and takes seconds to import, so imported where used."""

ANSWER_SECONDS = 10.0
SIGN_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
WRITES = 5
"""attempts at a write that lost a race; a second loss takes somebody who removes the row in between"""
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", 401, 403)
_NEVER = (
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", *_MISSING, 400, 409, 413, 422,
)  # fmt: skip
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
    artifacts: str = ""  # where the experiment keeps them, as MLflow names it
    reached: set[str] = field(default_factory=set)  # of such places, those that are known to be reached from here


def connect(tracking_uri: str | None, home: Path, experiment: str) -> Connection:
    """Open (and on first use create) the tracking store and the experiment.

    Args:
        tracking_uri: an MLflow address; None for the store under `home`.
        home: folder of the embedded store, of its artifacts and of the lock.
        experiment: created where it is missing, restored where it was deleted.

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
    if is_server(address):
        _knock(address)
    elif not embedded:
        check_database(address)
    mlflow, shown = import_mlflow(), without_credentials(address)
    # a database is told where artifacts go: MLflow would take the folder where the command was started
    artifacts = (home / "mlartifacts").as_uri() if embedded or is_database(address) else None
    with FileLock(home / "mlflow.lock"), explained(f"MLflow at {shown}"), _whole_store(home if embedded else None):
        client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
        found = _experiment(client, experiment, artifacts)
    return Connection(client, address, str(found.experiment_id), experiment, str(found.artifact_location))


def is_server(address: str) -> bool:
    """Whether it is that of an MLflow server; else a database, or what a plugin of MLflow's takes."""
    return address.startswith(("http://", "https://"))


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
    import mlflow

    for name in ("alembic", "alembic.runtime.migration", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def every_page(search: Callable[..., Any], *words: Any, **options: Any) -> Iterator[Any]:
    """Everything that a paged search of MLflow finds."""
    token: str | None = None
    while True:
        page = search(*words, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def write_again(write: Callable[..., Any], *values: str) -> None:
    """Set a tag or an alias that another program may set at the same time.

    MLflow looks for the row and then inserts or updates it, so the database's unique constraint refuses one of two who
    set it first. Made again, the write replaces the other's row. Raises MlflowException as the client does.
    """
    for attempt in range(1, WRITES + 1):
        try:
            write(*values)
            return
        except import_mlflow().MlflowException as error:
            # SQLite and PostgreSQL, MySQL
            lost = any(words in str(error).lower() for words in ("unique constraint", "duplicate entry"))
            if attempt == WRITES or not lost:
                raise


@contextmanager
def explained(what: str) -> Iterator[None]:
    """MLflow's and the database's exceptions leave as one-line RegistryErrors naming the task."""
    try:
        yield
    # HTTPError: of artifacts, which MLflow lets through as it is
    except (import_mlflow().MlflowException, requests.HTTPError) as error:
        remedy = f"; {SIGN_IN}" if _code(error) in _DENIED else ""
        raise RegistryError(f"{what}: {without_credentials(words_of(error))}{remedy}") from error
    except OSError as error:
        raise StorageError(f"{what}: {error}; free some space or make the folder writable") from error


class UnreachableError(Exception):
    """Not now: no answer, an error of the server's own, or no access. The text names a remedy; try again later."""


class RefusedError(Exception):
    """Not as things are: the server understood the request and says that it will not do, or that no such run exists."""


class UnreachableRootError(RegistryError):
    """Where the server keeps artifacts is not reached from here, now or later; the text names it and the remedy."""


@contextmanager
def answers() -> Iterator[None]:
    """What MLflow raises in the block leaves as one of the two that a mirror tells apart."""
    try:
        yield
    except UnreachableRootError:
        raise
    except (import_mlflow().MlflowException, SplatsweepError, OSError) as error:
        code, text = _code(error), without_credentials(words_of(error))
        if code in _NEVER:
            raise RefusedError(text) from None
        raise UnreachableError(f"{text}; {SIGN_IN}" if code in _DENIED else text) from None


def is_missing(error: BaseException) -> bool:
    """Whether MLflow said that the thing does not exist; takes its exception, or what `explained` made of it."""
    return _code(error) in _MISSING or _code(error.__cause__) in _MISSING


def is_gone(error: BaseException) -> bool:
    """Whether MLflow said so, or that what was asked for can be nothing: the same again gets the same answer."""
    invalid = "INVALID_PARAMETER_VALUE"
    return is_missing(error) or invalid in (_code(error), _code(error.__cause__))


def _code(error: BaseException | None) -> str | int:
    """MLflow's error code, or the HTTP status of a request for artifacts."""
    status = status_of(error)
    # a proxy's answer, to which MLflow's client gives the code of an error of the server's own
    if isinstance(error, requests.HTTPError) or status == TOO_LARGE:
        return status
    return str(getattr(error, "error_code", ""))


def _experiment(client: Client, name: str, artifacts: str | None) -> Any:
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.get_experiment(client.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found


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
