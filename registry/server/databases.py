"""MLflow's databases saved and put back by the database's own means: SQLite's backup API, Postgres's programs.

A saved one is a SQLite file or a dump of pg_dump's custom format; each goes back into a database of its own kind.
"""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from registry.tracking.address import without_credentials
from registry.tracking.connection import import_mlflow
from registry.tracking.database import BUSY_SECONDS, busy_error, explained_error, free_version, open_to_read
from registry.tracking.embedded_store import move_paths
from ssl_core.errors import IntegrityError, MissingDependencyError, RegistryError

Engine = Literal["postgres", "sqlite"]
Part = Literal["database", "users"]
"""runs and models; MLflow's users"""


def engine_of(address: str) -> Engine:
    """The kind of database at SQLAlchemy's address. Raises RegistryError for others."""
    match sa.make_url(address).get_backend_name():
        case "sqlite":
            return "sqlite"
        case "postgresql":
            return "postgres"
        case other:
            raise RegistryError(
                f"a database of {other} is backed up with its own programs; this knows SQLite, Postgres"
            )


def sqlite_file(address: str) -> Path:
    """The file of a SQLite address."""
    return Path(sa.make_url(address).database or "")


def save(address: str, file: Path) -> None:
    """Write the database as of one moment into a file, whoever writes meanwhile.

    Raises:
        RegistryError: the database does not answer.
        MissingDependencyError: pg_dump is not on PATH.
    """
    match engine_of(address):
        case "sqlite":
            _copy_sqlite(address, sqlite_file(address), file)
        case "postgres":
            _program("pg_dump", address, "--format=custom", f"--file={file}")


def check_saved(engine: Engine, saved: Path) -> None:
    """Look through a saved database before it replaces another.

    Raises:
        IntegrityError: it is damaged, or none of MLflow's.
        MissingDependencyError: pg_restore is not on PATH.
    """
    try:
        match engine:
            case "sqlite":
                with closing(open_to_read(saved)) as connection:
                    sound = connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
                    names = str(connection.execute("SELECT name FROM sqlite_schema").fetchall())
            case "postgres":
                sound, names = True, _program("pg_restore", None, "--list", str(saved))
    except (sqlite3.Error, RegistryError) as error:
        raise IntegrityError(f"the backup's {saved.name} is damaged ({error}); nothing was restored") from None
    if not sound or "alembic_version" not in names:
        raise IntegrityError(f"the backup's {saved.name} is damaged, or no database of MLflow's; nothing was restored")


@contextmanager
def replaced(address: str, saved: Path) -> Iterator[None]:
    """Put a saved database at an address, at once; if the block fails, the one that was there comes back.

    Raises:
        RegistryError: the database does not answer, or the file is no such database.
    """
    before = saved.with_name(f"{saved.name}.before")
    if _is_there(address):
        save(address, before)
    _load(address, saved)
    try:
        yield
    except BaseException:
        if before.exists():
            _load(address, before)
        else:
            sqlite_file(address).unlink()
        raise


def upgrade(address: str, part: Part) -> None:
    """Bring the tables to the form that this MLflow wants. Raises RegistryError for a newer MLflow's database."""
    import_mlflow()
    from alembic.util.exc import CommandError
    from mlflow.store.db.utils import _upgrade_db

    try:
        with _engine(address) as engine:
            match part:
                case "database":
                    _upgrade_db(engine)  # what `mlflow db upgrade` does, without a password on a command line
                case "users":
                    from mlflow.server.auth.db.utils import migrate_if_needed  # brings all of the server along

                    migrate_if_needed(engine, "head")
    except CommandError as error:
        raise RegistryError(f"the backup is of a newer MLflow ({error}); install that one, then restore") from None


def is_empty(address: str) -> bool:
    """Whether a database holds neither runs nor models."""
    if not _is_there(address):
        return True
    with _engine(address) as engine, engine.connect() as connection:
        there = [name for name in ("runs", "registered_models") if sa.inspect(connection).has_table(name)]
        return not any(connection.execute(sa.text(f"SELECT 1 FROM {name} LIMIT 1")).first() for name in there)


def move_artifacts(address: str, before: Path, after: Path) -> None:
    """Rename the folder of artifacts that the embedded store's rows name."""
    with _told(address), closing(sqlite3.connect(sqlite_file(address))) as connection:
        move_paths(connection, before, after)


def set_password(address: str, user: str, password: str) -> None:
    """Give a user of the users' database another password; one that is not there is left out."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    with _told(address):
        store.init_db(address)
        if store.has_user(user):
            store.update_user(user, password)
        store.engine.dispose()


@contextmanager
def _engine(address: str) -> Iterator[sa.Engine]:
    _wait_for(address)
    engine = sa.create_engine(address)
    try:
        with _told(address):
            yield engine
    finally:
        engine.dispose()


def _copy_sqlite(address: str, source: Path, target: Path) -> None:
    _wait_for(address)
    held, deadline = sqlite_file(address), time.monotonic() + BUSY_SECONDS

    def patient(status: int, left: int, pages: int) -> None:
        """After each attempt: Python makes them for ever while another program holds the file."""
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise busy_error(held)

    with _told(address), closing(open_to_read(source)) as here, closing(sqlite3.connect(target, timeout=0)) as there:
        here.backup(there, progress=patient)


def _wait_for(address: str) -> None:
    """Until a SQLite file that is there is free. Raises StorageError: it is not, or is damaged."""
    if engine_of(address) == "sqlite" and sqlite_file(address).exists():
        free_version(sqlite_file(address))


def _is_there(address: str) -> bool:
    """Postgres's always is, be it empty."""
    return engine_of(address) == "postgres" or sqlite_file(address).exists()


def _load(address: str, saved: Path) -> None:
    """All of a saved database, or none of it, in place of what the database holds."""
    match engine_of(address):
        case "sqlite":  # through SQLite, not by moving files: somebody may have this one open
            _copy_sqlite(address, saved, sqlite_file(address))
        case "postgres":
            whole = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error")
            _program("pg_restore", address, *whole, "--single-transaction", str(saved))


def _program(name: str, address: str | None, *words: str) -> str:
    """What one of Postgres's client programs prints; the password goes by its environment, which nobody else reads."""
    found, environment, where = shutil.which(name), dict(os.environ), list[str]()
    if found is None:
        raise MissingDependencyError(
            f"{name} is not on PATH; install PostgreSQL's client programs (Debian: postgresql-client), "
            "of the server's version or newer"
        )
    if address is not None:
        url = sa.make_url(address)
        plain = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
        where, environment["PGPASSWORD"] = ["--no-password", f"--dbname={plain}"], url.password or ""
    done = subprocess.run([found, *where, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:300]
        raise RegistryError(f"{name}: {said}")
    return done.stdout


@contextmanager
def _told(address: str) -> Iterator[None]:
    """A database's troubles in one line, without its password."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        place = sqlite_file(address) if engine_of(address) == "sqlite" else without_credentials(address)
        first = str(error).strip().splitlines()[0]
        raise explained_error(error, place) or RegistryError(f"{place}: {first}; put a backup back") from None
