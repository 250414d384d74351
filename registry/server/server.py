"""MLflow's server on loopback: with its users and our guard, or its pages alone over the embedded store.

`splatsweep serve` runs it with users, on Postgres where there is one; `splatsweep ui` without.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from registry.server.places import Running, databases, hold, service_folder, settings_of
from registry.server.processes import LOOPBACK, answers, check_free, last_words, program
from registry.server.secret_file import ADMINISTRATOR, ServiceSecrets, service_secrets, write_access, write_private
from registry.tracking.address import checked_address
from registry.tracking.connection import connect, is_server
from registry.tracking.embedded_store import artifact_root
from ssl_core.errors import MissingDependencyError, RegistryError
from ssl_core.interrupt import Interrupt, watch_signals

Say = Callable[[str], None]


def serve(home: Path, port: int, artifacts: str | None, announce: Say, *, workers: int = 1) -> None:
    """Serve the registry under `home/service` until interrupted.

    MLflow binds to 127.0.0.1: from elsewhere use a tunnel, or TLS in front. Passwords are made at the first start, lie
    in files that only this user can read, and are neither printed nor given on a command line.

    Args:
        artifacts: s3://bucket/prefix, its endpoint and keys from the environment; None for a folder.
        announce: takes the few lines for people.
        workers: processes of MLflow's server.

    Raises:
        RegistryError: it runs already, the port is taken, or one of its programs ended by itself.
    """
    _check_libraries()
    check_free(port)
    folder = service_folder(home)
    with watch_signals(Interrupt(at_once=True)), hold(folder):
        settings, why_not = settings_of(folder, artifacts)
        secrets = service_secrets(folder)
        where = f"SQLite ({why_not})" if settings.engine == "sqlite" else "Postgres"
        announce(f"starting MLflow on {where}, which takes some seconds")
        try:
            with databases(folder, settings, secrets) as (found, database_port):
                environment = _environment(settings.place(folder), secrets, found[0], _auth_file(folder, found[1]))
                words = ["--app-name", "basic-auth", "--workers", str(workers)]
                with _mlflow(port, words, environment, folder / "mlflow.log") as site:
                    running = Running(port=port, database_port=database_port)
                    write_private(folder / "running.json", running.to_json())
                    file = write_access(folder, site, ADMINISTRATOR, secrets.administrator)
                    announce(f"registry: {site}  (Ctrl-C stops it)")
                    announce(f"administrator's address, name and password: {file}")
        except KeyboardInterrupt:
            announce("stopped")
        finally:
            (folder / "running.json").unlink(missing_ok=True)


def serve_pages(tracking_uri: str | None, home: Path, port: int, announce: Say) -> None:
    """Serve MLflow's pages over the embedded store until interrupted; where a server's address is given, say it.

    The server binds to 127.0.0.1 and has no login: from elsewhere use a tunnel, or `splatsweep serve`. Ctrl-C and a
    termination signal end it with all its workers.

    Raises:
        RegistryError: the store cannot be opened, the port is taken, or the server ended by itself.
    """
    if tracking_uri and is_server(checked_address(tracking_uri) or ""):
        announce(f"MLflow is at {tracking_uri}")
        return
    check_free(port)
    connection = connect(tracking_uri, home, "splatsweep")
    artifacts = artifact_root(home)
    words = ["--backend-store-uri", connection.tracking_uri, "--default-artifact-root", artifacts, "--workers", "1"]
    # the server's job runner serves features that are not used here, and slows its start
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    announce("starting MLflow, which takes some seconds")
    try:
        log = home.resolve() / "mlflow-server.log"
        with watch_signals(Interrupt(at_once=True)), _mlflow(port, words, environment, log) as site:
            announce(f"MLflow: {site}  (Ctrl-C stops it)")
            # the last part selects the pages for training; those for chat applications are MLflow's default
            studies = f"experiments/{connection.experiment_id}/runs?workflowType=machine_learning"
            announce(f"studies: {site}/#/{studies}")
    except KeyboardInterrupt:
        announce("stopped")


@contextmanager
def _mlflow(port: int, words: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """MLflow's server: the block runs when it answers, with its address. Then it runs until it ends, which is an error:
    only an interrupt ends it well."""
    site = f"http://{LOOPBACK}:{port}"
    where = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port)]
    with program([*where, *words], environment, log) as server:
        if not answers(server, site):
            raise RegistryError(f"MLflow's server does not answer: {last_words(log)}; see {log}")
        yield site
        server.wait()
    raise RegistryError(f"MLflow's server ended with code {server.returncode}: {last_words(log)}; see {log}")


def _environment(artifacts: str, secrets: ServiceSecrets, database: str, auth: Path) -> Mapping[str, str]:
    """MLflow's settings. Addresses with passwords go here and not on its command line, which everybody can read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    if not artifacts.startswith("s3://"):
        kept = {name: value for name, value in kept.items() if not name.startswith("AWS_")}
    elif endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        kept["MLFLOW_S3_ENDPOINT_URL"] = endpoint
    return {
        **kept,
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts if "://" in artifacts else Path(artifacts).absolute().as_uri(),
        "MLFLOW_AUTH_CONFIG_PATH": str(auth),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMINISTRATOR,
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.administrator,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.signing,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def _auth_file(folder: Path, users: str) -> Path:
    """MLflow's authentication takes its database from a file only."""
    file = folder / "mlflow-auth.ini"
    text = (
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = {users.replace('%', '%%')}\n"  # its parser takes % for a reference to another line
        "authorization_function = registry.server.guard:authenticate\n"
        # else each request hashes the password, a second of CPU on a busy machine
        "auth_cache_ttl_seconds = 60\n"
    )
    write_private(file, text)
    return file


def _check_libraries() -> None:
    if importlib.util.find_spec("flask_wtf") is None:
        raise MissingDependencyError("MLflow's users need the library flask-wtf; install splatsweep[server]")
