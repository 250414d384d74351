"""`splatsweep serve`: MLflow's server with its users and our guard, on Postgres where there is one, on loopback."""

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.server.places import Running, ServiceSettings, databases, hold, service_folder, settings_of
from registry.server.processes import LOOPBACK, answers, check_free, last_words, program, termination_interrupts
from registry.server.secret_file import ADMINISTRATOR, ServiceSecrets, service_secrets, write_access, write_private
from ssl_core.errors import MissingDependencyError, RegistryError

Say = Callable[[str], None]


def serve(home: Path, port: int, artifacts: str | None, announce: Say, *, workers: int = 1) -> None:
    """Serve the registry under `home/service` until interrupted.

    MLflow binds to 127.0.0.1: from elsewhere use a tunnel, or TLS in front. Passwords are made at the first start, lie
    in files that only this user can read, and are neither printed nor given on a command line.

    Args:
        home: home folder.
        port: of MLflow's server.
        artifacts: s3://bucket/prefix, its endpoint and keys from the environment; None for a folder.
        announce: takes the few lines for people.
        workers: processes of MLflow's server.

    Raises:
        RegistryError: it runs already, the port is taken, or one of its programs ended by itself.
    """
    _check_libraries()
    check_free(port)
    folder = service_folder(home)
    with termination_interrupts(), hold(folder):
        settings, why_not = settings_of(folder, artifacts)
        secrets = service_secrets(folder)
        where = f"SQLite ({why_not})" if settings.engine == "sqlite" else "Postgres"
        announce(f"starting MLflow on {where}, which takes some seconds")
        try:
            with databases(folder, settings, secrets) as (found, database_port):
                service = _Service(folder, settings, secrets, found, Running(port=port, database_port=database_port))
                _run(service, workers, announce)
        except KeyboardInterrupt:
            announce("stopped")
        finally:
            (folder / "running.json").unlink(missing_ok=True)


@dataclass(frozen=True)
class _Service:
    folder: Path
    settings: ServiceSettings
    secrets: ServiceSecrets
    databases: list[str]
    running: Running


def _run(service: _Service, workers: int, announce: Say) -> None:
    """MLflow's server until it ends, which is an error: only an interrupt ends it well."""
    folder, port = service.folder, service.running.port
    log, address = folder / "mlflow.log", f"http://{LOOPBACK}:{port}"
    where = ["--host", LOOPBACK, "--port", str(port), "--workers", str(workers)]
    words = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", *where]
    with program(words, _environment(service), log) as server:
        if not answers(server, address):
            raise RegistryError(f"MLflow's server does not answer: {last_words(log)}; see {log}")
        write_private(folder / "running.json", service.running.to_json())
        file = write_access(folder, address, ADMINISTRATOR, service.secrets.administrator)
        announce(f"registry: {address}  (Ctrl-C stops it)")
        announce(f"administrator's address, name and password: {file}")
        server.wait()
    raise RegistryError(f"MLflow's server ended with code {server.returncode}: {last_words(log)}; see {log}")


def _environment(service: _Service) -> Mapping[str, str]:
    """MLflow's settings. Addresses with passwords go here and not on its command line, which everybody can read."""
    settings, secrets = service.settings, service.secrets
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    if not settings.artifacts.startswith("s3://"):
        kept = {name: value for name, value in kept.items() if not name.startswith("AWS_")}
    elif endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        kept["MLFLOW_S3_ENDPOINT_URL"] = endpoint
    return {
        **kept,
        "MLFLOW_BACKEND_STORE_URI": service.databases[0],
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts,
        "MLFLOW_AUTH_CONFIG_PATH": str(_auth_file(service.folder, service.databases[1])),
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
        f"database_uri = {users}\n"
        "authorization_function = registry.server.guard:authenticate\n"
        # else each request hashes the password, a second of CPU on a busy machine
        "auth_cache_ttl_seconds = 60\n"
    )
    write_private(file, text)
    return file


def _check_libraries() -> None:
    if importlib.util.find_spec("flask_wtf") is None:
        raise MissingDependencyError("MLflow's users need the library flask-wtf; install splatsweep[server]")
