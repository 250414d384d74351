"""Whether this machine reaches the folder into which a server without artifact proxy wants its artifacts.

Such a server (`--default-artifact-root /srv/artifacts`, `--no-serve-artifacts`) names a path of its own machine, and
MLflow's client makes that path wherever it runs. So a file is put there first and the server asked whether it sees it;
if it does not, nothing stays of it.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from registry.tracking.address import without_credentials
from registry.tracking.connection import Connection, UnreachableRootError, is_server

_ASK = "/api/2.0/mlflow/artifacts/list"
"""MLflow's client lists with its own eyes; the server's view has no method there"""
_ATTEMPTS, _PAUSE = 3, 0.5
"""a network file system may show a new file a moment later"""


def check_writable(connection: Connection, run_id: str) -> None:
    """Asked before an artifact of a run of the connection's experiment is written; costs nothing where it is no folder.

    Raises:
        UnreachableRootError: it is a folder that this machine does not share with the server.
        MlflowException: the server does not answer.
    """
    from mlflow.utils.file_utils import local_file_uri_to_path

    if (
        not run_id
        or connection.reached
        or not is_server(connection.tracking_uri)
        or not _is_folder(connection.artifacts)
    ):
        return
    folder = Path(local_file_uri_to_path(connection.client.get_run(run_id).info.artifact_uri))
    if not folder.is_absolute():  # it would be a folder of wherever the command was started
        raise _unreachable(connection, "")
    try:
        with _probe(folder) as name:
            seen = _seen(connection, run_id, name)
            if not seen:
                raise _unreachable(connection, "")
    except OSError as error:
        raise _unreachable(connection, f" ({error.strerror})") from None
    connection.reached.add(connection.artifacts)


def check_readable(connection: Connection, uri: str) -> None:
    """Asked before artifacts are read. Raises UnreachableRootError: a folder of another machine."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    if is_server(connection.tracking_uri) and _is_folder(uri):
        folder = Path(local_file_uri_to_path(uri))
        if not folder.is_absolute() or not folder.exists():
            raise _unreachable(connection, "", uri)


def _is_folder(uri: str) -> bool:
    return bool(uri) and urlsplit(uri).scheme in ("", "file")


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


def _unreachable(connection: Connection, why: str, root: str = "") -> UnreachableRootError:
    server, root = without_credentials(connection.tracking_uri), root or connection.artifacts
    return UnreachableRootError(
        f"MLflow at {server} keeps artifacts in {root}, a folder of its machine, which is not reached from here{why}: "
        "share that folder under the same path, or start the server with --serve-artifacts and without "
        f"--default-artifact-root, and rename the experiment '{connection.experiment}' there, which keeps that folder"
    )
