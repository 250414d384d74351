"""Artifacts written to and read from where a server without artifact proxy keeps them: a folder, or a cloud's store.

With `--default-artifact-root /srv/artifacts` the server names a path of its own machine, and MLflow's client makes that
path wherever it runs. So a file is put there first and the server asked whether it sees it; if it does not, nothing
stays of it. Libraries of clouds raise what they like, which leaves here as one line.
"""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from registry.tracking.address import without_credentials
from registry.tracking.connection import Connection, UnreachableRootError, import_mlflow, is_server
from ssl_core.errors import SplatsweepError, StorageError

_ASK = "/api/2.0/mlflow/artifacts/list"
"""MLflow's client lists with its own eyes; the server's view has no method there"""
_ATTEMPTS, _PAUSE = 3, 0.5
"""a network file system may show a new file a moment later"""
_NO_ACCESS = re.compile(r"credential|denied|forbidden|NoSuchBucket|InvalidAccessKey|Signature", re.IGNORECASE)
"""in what a cloud's library says and will say again"""


@contextmanager
def writing(connection: Connection, run_id: str) -> Iterator[None]:
    """In the block artifacts of a run of the connection's experiment are written; asks nothing where they are proxied.

    Raises:
        UnreachableRootError: they have no way from here. StorageError: a cloud's store does not take them now.
        MlflowException: the server refuses or does not answer.
    """
    folder = is_server(connection.tracking_uri) and _is_folder(connection.root)
    if folder and run_id and not connection.reached:
        _check_shared(connection, run_id)
        connection.reached.add(connection.root)
    with _store_errors(connection.root):
        yield


@contextmanager
def reading(connection: Connection, uri: str) -> Iterator[None]:
    """In the block artifacts at `uri` are read. Raises as `writing`."""
    if is_server(connection.tracking_uri) and _is_folder(uri):
        folder = _path(uri)
        if not folder.is_absolute() or not folder.exists():
            raise _unreachable(connection, uri)
    with _store_errors(uri):
        yield


def _check_shared(connection: Connection, run_id: str) -> None:
    root, folder = connection.root, _path(connection.client.get_run(run_id).info.artifact_uri)
    if not folder.is_absolute():  # it would be a folder of wherever the command was started
        raise _unreachable(connection, root)
    try:
        with _probe(folder) as name:
            if not _seen(connection, run_id, name):
                raise _unreachable(connection, root)
    except OSError as error:
        raise _unreachable(connection, root, f" ({error.strerror or error})") from None


@contextmanager
def _probe(folder: Path) -> Iterator[str]:
    """A file in the folder, and its name. It goes again, and with an error the folders that were made for it."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    file = folder / f"splatsweep-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
        yield file.name
    except BaseException:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise
    file.unlink(missing_ok=True)


def _seen(connection: Connection, run_id: str, name: str) -> bool:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    creds = get_default_host_creds(connection.tracking_uri)
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        answer = http_request_safe(creds, _ASK, "GET", params={"run_id": run_id}).json()
        if name in {file["path"] for file in answer.get("files", ())}:
            return True
    return False


@contextmanager
def _store_errors(place: str) -> Iterator[None]:
    try:
        yield
    except (import_mlflow().MlflowException, SplatsweepError, OSError):
        raise
    except ImportError as error:
        raise UnreachableRootError(
            f"artifacts at {place} need the library '{error.name}', which is not installed here; install it, or start "
            "the server with --serve-artifacts"
        ) from None
    except Exception as error:
        text = f"artifacts at {place}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if _NO_ACCESS.search(text):
            remedy = "give this machine access to that store, or start the server with --serve-artifacts"
            raise UnreachableRootError(f"{text}; {remedy}") from None
        raise StorageError(text) from error


def _is_folder(uri: str) -> bool:
    return bool(uri) and urlsplit(uri).scheme in ("", "file")


def _path(uri: str) -> Path:
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(uri))


def _unreachable(connection: Connection, root: str, why: str = "") -> UnreachableRootError:
    server = without_credentials(connection.tracking_uri)
    return UnreachableRootError(
        f"MLflow at {server} keeps artifacts in {root}, a folder of its machine, which is not reached from here{why}: "
        "share that folder under the same path, or start the server with --serve-artifacts and without "
        f"--default-artifact-root, and rename the experiment '{connection.experiment}' there, which keeps that folder"
    )
