"""Where a registry lies: its database, its users' database, and the folder or bucket of its artifacts.

Three kinds: the service under a home folder (`splatsweep serve`), the embedded store under a home folder, and
whatever the variables of MLflow's server say, as in the containers of `deploy/`.
"""

import configparser
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from registry.server.databases import Engine, Part
from registry.server.postgres import NAMES, address, lacking, running_postgres
from registry.server.secret_file import ServiceSecrets, service_secrets, write_private
from registry.tracking.embedded_store import ARTIFACTS, embedded_address, sqlite_address
from ssl_core.config import Config
from ssl_core.errors import ConfigError, RegistryError, StorageError

Kind = Literal["service", "embedded"]
_ARTIFACTS = "artifacts"
"""a service's own folder of artifacts, beside its database"""


class ServiceSettings(Config):
    """What a service was made with, and keeps: `settings.json` in its folder."""

    engine: Engine
    artifacts: str
    """s3://bucket/prefix, or a folder's path; a relative one begins at the service's folder, and moves with it"""

    def place(self, folder: Path) -> str:
        """Where the artifacts of the service in `folder` lie: an address, or a folder's full path."""
        if "://" in self.artifacts:
            return self.artifacts
        named, own = Path(self.artifacts), folder / _ARTIFACTS
        # of earlier revisions, which wrote the full path of its own folder
        moved = named.parts[-2:] == own.parts[-2:] and (own.is_dir() or not os.access(named, os.F_OK))
        return str(own if moved else folder / named)


class Running(Config):
    """Where a service that runs now can be reached: `running.json`."""

    port: int
    database_port: int | None = None


@dataclass(frozen=True)
class Places:
    """One registry."""

    database: str  # SQLAlchemy's address of MLflow's runs and models
    users: str | None  # the same of its users; None for the embedded store, which has none
    artifacts: str  # a folder's path, or s3://bucket/prefix
    home: Path | None = None  # of the embedded store: its database names its artifacts by their full paths
    administrator: str | None = None  # password that the administrator gets when users are restored; None to leave it

    @property
    def parts(self) -> Mapping[Part, str]:
        """Addresses of its databases."""
        return {"database": self.database} if self.users is None else {"database": self.database, "users": self.users}


def service_folder(home: Path) -> Path:
    """Of the service under a home folder."""
    return home.resolve() / "service"


def settings_of(folder: Path, artifacts: str | None, engine: Engine | None = None) -> tuple[ServiceSettings, str]:
    """A service's settings, made at its first start; and why it has no Postgres, if it has none.

    Takes `artifacts` as `serve` does. A new one is on `engine`, or the best there is.

    Raises:
        RegistryError: it was made with other artifacts, or on a Postgres that is gone.
    """
    why, file = lacking(folder), folder / "settings.json"
    made = not file.exists()
    if made:
        best: Engine = "sqlite" if why else "postgres"
        settings = ServiceSettings(engine=engine or best, artifacts=artifacts or _ARTIFACTS)
    else:
        settings = _settings(folder)
    if artifacts not in (None, settings.artifacts, settings.place(folder)):
        where = settings.place(folder)
        raise RegistryError(f"this service keeps its artifacts in {where}, not in {artifacts}; see {file}")
    if settings.engine == "postgres":
        if why:
            raise RegistryError(f"this service is on Postgres, and there is none: {why}")
    elif not made:
        why = "it was made on SQLite"
    if made:
        write_private(file, settings.to_json())
    return settings, why


@contextmanager
def databases(
    folder: Path, settings: ServiceSettings, secrets: ServiceSecrets
) -> Iterator[tuple[list[str], int | None]]:
    """A service's two databases while the block runs: their addresses, and Postgres's port."""
    if settings.engine == "sqlite":
        yield _addresses(folder, secrets, None), None
        return
    with running_postgres(folder, secrets.database, folder / "postgres.log") as port:
        yield _addresses(folder, secrets, port), port


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Only one program runs a service, or restores it. Raises RegistryError where it runs already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # others may pass through, for Postgres runs as another user where we are root, and see nothing
        folder.chmod(0o711)
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error}; set SPLATSWEEP_HOME to another folder") from None
    try:
        with FileLock(folder / "running.lock", timeout=0):
            yield
    except Timeout:
        raise RegistryError(f"the service in {folder} is running; stop it first (Ctrl-C where it runs)") from None


def is_running(folder: Path) -> Running | None:
    """Where a running service is reached; None where none runs."""
    lock = FileLock(folder / "running.lock", timeout=0)
    try:
        with lock:
            return None
    except Timeout:
        pass
    try:
        return Running.from_json((folder / "running.json").read_text())
    except (OSError, ConfigError, ValueError):
        raise RegistryError(f"the service in {folder} is just starting or stopping; try again") from None


@contextmanager
def places_of(
    home: Path,
    kind: Kind | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    stopped: bool = False,
    engine: Engine | None = None,
) -> Iterator[Places]:
    """The registry of this place, its database answering while the block runs.

    MLflow's server's own variable MLFLOW_BACKEND_STORE_URI names one; else it is the service under `home`, where there
    is one; else the embedded store.

    Args:
        kind: which of the home folder's two; a service that is not there is made, on `engine`.
        stopped: the service must not be running, as its database is about to be replaced.

    Raises:
        RegistryError: there is no registry here, or it runs and must not.
    """
    if environ.get("MLFLOW_BACKEND_STORE_URI"):
        yield _named(environ)
        return
    folder = service_folder(home)
    if kind == "embedded" or (kind is None and not (folder / "settings.json").exists()):
        yield Places(embedded_address(home), None, str(home.resolve() / ARTIFACTS), home.resolve())
        return
    running = None if stopped or not folder.exists() else is_running(folder)
    if running is not None:
        settings, secrets = _settings(folder), service_secrets(folder)
        yield _service(folder, settings, secrets, _addresses(folder, secrets, running.database_port))
        return
    with hold(folder):
        settings, secrets = settings_of(folder, None, engine)[0], service_secrets(folder)
        with databases(folder, settings, secrets) as (found, _):
            yield _service(folder, settings, secrets, found)


def _service(folder: Path, settings: ServiceSettings, secrets: ServiceSecrets, found: list[str]) -> Places:
    return Places(found[0], found[1], settings.place(folder), administrator=secrets.administrator)


def _addresses(folder: Path, secrets: ServiceSecrets, port: int | None) -> list[str]:
    """Of both databases; without Postgres's port, of the files."""
    if port is None:
        return [sqlite_address(folder / f"{name}.db") for name in NAMES]
    return [address(secrets.database, port, name) for name in NAMES]


def _named(environ: Mapping[str, str]) -> Places:
    artifacts = environ.get("MLFLOW_ARTIFACTS_DESTINATION")
    if not artifacts:
        raise RegistryError("MLFLOW_BACKEND_STORE_URI is set and MLFLOW_ARTIFACTS_DESTINATION is not; set both")
    users = None
    if file := environ.get("MLFLOW_AUTH_CONFIG_PATH"):
        parser = configparser.ConfigParser()
        parser.read(file)
        users = parser.get("mlflow", "database_uri", fallback=None)
    administrator = environ.get("MLFLOW_AUTH_ADMIN_PASSWORD") or None
    return Places(environ["MLFLOW_BACKEND_STORE_URI"], users, artifacts.removeprefix("file://"), None, administrator)


def _settings(folder: Path) -> ServiceSettings:
    file = folder / "settings.json"
    try:
        return ServiceSettings.from_json(file.read_text())
    except (OSError, ConfigError, ValueError):
        raise RegistryError(f"{file} is damaged; restore it from a copy") from None
