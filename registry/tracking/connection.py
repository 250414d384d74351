"""MLflow's client for one tracking address, its errors as ours, and what its calls lack: pages, writes made again.

Embedded (no address given): a SQLite file under the home folder, artifacts beside it. Creating that file runs MLflow's
migrations, which several processes must not do at once: a file lock. A server: its address is tried first with a short
time limit, because MLflow's own retries take minutes to say that nobody is there. Who only reads makes nothing and
takes no lock, so a home folder that may not be written can be read.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock, Timeout

from registry.tracking.address import check_database, is_database, without_credentials
from registry.tracking.database import (
    QUIET_SECONDS,
    Guarded,
    NoRegistryError,
    check_file,
    may_write,
    reading_address,
    sqlite_file,
)
from registry.tracking.embedded_store import artifact_root, copy_at_home, embedded_address, settle, sqlite_address
from registry.tracking.network import MLFLOW_CERTIFICATES, keep_loopback_direct, no_answer, proxy_remedy, through
from registry.tracking.server_words import TOO_LARGE, status_of, words_of
from ssl_core.errors import RegistryError, SplatsweepError, StorageError
from ssl_core.files.user_folders import supply_folders

log = logging.getLogger(__name__)

Client = Any
"""`mlflow.MlflowClient`; the library is untyped and takes seconds to import, so imported where used."""

ANSWER_SECONDS = 10.0
LOCK_SECONDS = 120.0
"""for another command that makes the store"""
SIGN_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
UNFINISHED = ".mlflow.db.unfinished"
"""beside a store that is being made, or whose making was cut short"""
WRITES = 5
"""attempts at a write that lost a race; a second loss takes somebody who removes the row in between"""
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", 401, 403)
_NEVER = (
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", *_MISSING, 400, 409, 413, 422,
)  # fmt: skip
_GATEWAY = (407, 502, 503, 504)
"""Statuses of a proxy that does not reach the server, or is not allowed to."""
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
    experiment_id: str  # empty where there is none, opened to read
    experiment: str
    artifacts: Any = None  # `mlflow.artifacts`, which ends as the client does where the database is at fault
    root: str = ""  # where the experiment keeps them, as MLflow names it
    reached: set[str] = field(default_factory=set)  # of such places, those that are known to be reached from here


def connect(tracking_uri: str | None, home: Path, experiment: str, *, reading: bool = False) -> Connection:
    """Open (and on first use create) the tracking store and the experiment.

    Args:
        tracking_uri: an MLflow address; None for the store under `home`.
        home: folder of the embedded store, of its artifacts and of the lock.
        experiment: created where it is missing, restored where it was deleted.
        reading: nothing is written: no folder, lock, database or experiment.

    Raises:
        NoRegistryError: `reading`, and there is no database.
        RegistryError: the server does not answer, or the store is not one that MLflow accepts.
        StorageError: the database is busy, damaged or may not be read, or the home folder cannot be written.
    """
    home, embedded = home.resolve(), not tracking_uri
    address = tracking_uri or embedded_address(home)
    file = home / "mlflow.db" if embedded else sqlite_file(address)
    if is_server(address):
        _knock(address)
    elif not embedded:
        check_database(address)
    if reading:
        return _connected_to_read(address, file, home / UNFINISHED if embedded else None, experiment)
    with _lock(home), _whole_store(home if embedded else None):
        if embedded:
            settle(home, experiment)
        client, artifacts = _opened(address, file, may_be_empty=not embedded)
        with explained(_named(address)):
            # a database is told where artifacts go: MLflow would take the folder where the command was started
            root = artifact_root(home) if embedded or is_database(address) else None
            found = _experiment(client, experiment, root)
    return Connection(client, address, str(found.experiment_id), experiment, artifacts, str(found.artifact_location))


def _connected_to_read(address: str, file: Path | None, mark: Path | None, experiment: str) -> Connection:
    """`mark` is there while the embedded store is being made; nothing can be in it."""
    if file is not None and (not _is_there(file) or (mark is not None and mark.exists())):
        raise NoRegistryError(f"nothing is registered yet: there is no {file}; run a study first (make sweep)")
    if mark is not None and (copy := copy_at_home(mark.parent, experiment)) is not None:
        file, address = copy, sqlite_address(copy)
    if file is not None and not may_write(file):
        address = reading_address(file)
    client, artifacts = _opened(address, file, may_be_empty=False)
    with explained(_named(address)):
        found = client.get_experiment_by_name(experiment)
    if found is None:
        return Connection(client, address, "", experiment, artifacts)
    return Connection(client, address, str(found.experiment_id), experiment, artifacts, str(found.artifact_location))


def _opened(address: str, file: Path | None, *, may_be_empty: bool) -> tuple[Guarded, Guarded]:
    """MLflow's client and its artifacts, once the database is found to be free and whole."""
    mlflow, place = import_mlflow(), file or without_credentials(address)
    there = file if file is not None and file.exists() else None  # one that is made is nobody else's
    if there is not None:
        check_file(there, may_be_empty=may_be_empty)
    with explained(f"MLflow at {place}"):
        client = Guarded(mlflow, place, there).MlflowClient(tracking_uri=address, registry_uri=address)
    return Guarded(client, place, file), Guarded(mlflow.artifacts, place, file)


def _is_there(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{file} may not be read by this user ({error.strerror}); ask its owner") from None
    return True


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    """One process at a time makes the store or the experiment."""
    lock = FileLock(home / "mlflow.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=QUIET_SECONDS)
        except Timeout:
            log.warning("another command is opening the registry in %s; waiting up to %.0f s", home, LOCK_SECONDS)
            lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StorageError(f"another command holds {lock.lock_file} all the time; end it, then try again") from None
    except OSError as error:
        raise StorageError(f"cannot write to {home}: {error}; set SPLATSWEEP_HOME to another folder") from None
    try:
        yield
    finally:
        lock.release()


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
    store, mark = home / "mlflow.db", home / UNFINISHED
    if mark.exists():
        for tail in ("", "-journal", "-wal", "-shm"):
            (home / f"mlflow.db{tail}").unlink(missing_ok=True)
    if not store.exists():
        mark.touch()
    yield
    mark.unlink(missing_ok=True)


def import_mlflow() -> Any:
    """MLflow, quiet: no usage reports (unless the user wants them), no migration log, no progress bars.

    Its requests to loopback, and those of the process from now on, go through no proxy.
    """
    keep_loopback_direct()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    supply_folders()
    import mlflow

    for name in ("alembic", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of what is told in one line
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


def ask(
    address: str, method: str, path: str, seconds: float, credentials: Any = None, **options: Any
) -> requests.Response:
    """One request as MLflow's client makes it, with its credentials, certificates and proxies, and no second attempt.

    Args:
        credentials: an `MlflowHostCreds`, instead of what MLflow's variables say.
        options: of `mlflow.utils.rest_utils.http_request`.

    Raises:
        MlflowException: no answer, or the variables contradict each other.
    """
    import_mlflow()
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    credentials = credentials or get_default_host_creds(address)
    options |= {"max_retries": 0, "timeout": seconds, "raise_on_status": False}
    answer: requests.Response = http_request(credentials, path, method, **options)
    return answer


def _knock(address: str) -> None:
    """One request with a short limit. Any answer of the server's will do, a refusal included: somebody is there."""
    place = without_credentials(address)
    remedy = "start it, correct MLFLOW_TRACKING_URI, or unset it to use the embedded store"
    try:
        status = ask(address, "GET", "/health", ANSWER_SECONDS).status_code
    except import_mlflow().MlflowException as error:
        if _code(error) in _NEVER:
            raise RegistryError(f"{_named(address)}: {words_of(error)}") from None
        raise RegistryError(no_answer("MLflow server", place, error, MLFLOW_CERTIFICATES, remedy)) from None
    if status in _GATEWAY and (other := proxy_remedy(address)):
        raise RegistryError(f"no MLflow server answers at {place}{through(address)} (status {status}); {other}")


def _named(address: str) -> str:
    return f"MLflow at {without_credentials(address)}{through(address)}"
