"""The database behind MLflow where this process opens it by itself: whether it may be read and written, is free, whole
and of this MLflow's form; and what goes wrong with it, each in one line with its remedy.

MLflow waits for a locked SQLite file in silence, logs tracebacks, lets some of SQLAlchemy's exceptions through, wraps
others in texts of many lines, and makes or migrates tables wherever some are missing. So a file is looked at before
MLflow opens it, and the calls of MLflow's client go through `Guarded`.
"""

import logging
import os
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy import exc

from ssl_core.errors import RegistryError, SplatsweepError, StorageError

log = logging.getLogger(__name__)

BUSY_SECONDS, QUIET_SECONDS = 20.0, 1.5
"""How long a locked SQLite file is waited for (MLflow's own limit, in each of its sessions), and without a word."""
_SCHEMA = re.compile(r"out-of-date database schema \(found version (\w+)|Can't locate revision identified by '(\w+)'")
_UNREADY = (exc.TimeoutError, exc.ArgumentError, exc.NoSuchModuleError)
"""SQLAlchemy's own, of no driver: all connections taken, an address that is none, an engine that it does not know"""


class NoRegistryError(RegistryError):
    """Nothing was registered here yet, and whoever only reads makes no database."""


def sqlite_file(address: str) -> Path | None:
    """The file of a SQLite address; None for other databases, servers, and SQLite's own URIs. Raises RegistryError."""
    if not address.startswith("sqlite"):
        return None
    try:
        name = sa.make_url(address).database or ":memory:"
    except (exc.ArgumentError, ValueError) as error:
        raise RegistryError(f"MLFLOW_TRACKING_URI={address} is no address ({error}); write sqlite:////FILE") from None
    return None if name.startswith((":memory:", "file:")) else Path(name).absolute()


def may_write(file: Path) -> bool:
    """Whether SQLite can write: it changes the file, and keeps a journal beside it."""
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def reading_address(file: Path) -> str:
    """SQLAlchemy's address of a file that may not be written, or whose folder may not."""
    # with the driver's name: MLflow makes the folders of a plain sqlite:///PATH, which this is not
    url = sa.URL.create("sqlite+pysqlite", database=file.as_uri(), query={**_reading(file), "uri": "true"})
    return url.render_as_string(hide_password=False)


def check_file(file: Path, *, may_be_empty: bool) -> None:
    """Wait until an existing SQLite file is free, and see that MLflow can use it as it is.

    Args:
        may_be_empty: MLflow may make its tables; not in the embedded store, which is made with all of them.

    Raises:
        StorageError: it cannot be opened or read, is damaged, or another program holds it for BUSY_SECONDS.
        RegistryError: it is of another version of MLflow, or no database of MLflow's.
    """
    if file.is_dir():
        raise StorageError(f"{file} is a folder, where the registry's database should be; move it away")
    if not os.access(file, os.R_OK):
        raise StorageError(f"the database {file} may not be read by this user; ask its owner to allow it")
    found = free_version(file)
    if found is None and not may_be_empty:
        raise StorageError(
            f"the database {file} is empty or none of MLflow's; move it away, then put a backup back "
            "(`splatsweep restore FILE --force`) or begin anew"
        )
    if found is not None and found != _scripts().get_current_head():
        raise _other_version(found, file)


def free_version(file: Path) -> str | None:
    """Schema version of an existing SQLite file, once it is free; None where it has none. Raises as `check_file`."""
    try:
        try:
            return _read_version(file, QUIET_SECONDS)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        say_busy(file)
        return _read_version(file, BUSY_SECONDS - QUIET_SECONDS)
    except sqlite3.Error as error:
        raise explained_error(error, file) or error from None


class Guarded:
    """MLflow's client (or another object of its) whose calls fail in one line where the database is at fault.

    What MLflow itself says (no such run, not allowed) passes as it is. While a locked file is waited for, that is said.
    """

    def __init__(self, target: Any, place: Path | str, held: Path | None) -> None:
        """`place` is for messages; `held` is a SQLite file that is there, and that another program may hold."""
        self._target, self._place, self._held = target, place, held

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *values: Any, **named: Any) -> Any:
        waiting = None if self._held is None else threading.Timer(QUIET_SECONDS, _say_if_busy, (self._held,))
        try:
            if waiting is not None:
                waiting.daemon = True
                waiting.start()
            return method(*values, **named)
        except Exception as error:
            ours = explained_error(error, self._place)
            if ours is None:
                raise
            raise ours from error
        finally:
            if waiting is not None:
                waiting.cancel()


def busy_error(place: Path | str) -> StorageError:
    """Of a file that another program held all the time."""
    return StorageError(
        f"the database {place} is busy: another program held it for {BUSY_SECONDS:.0f} s; end that program (a backup, "
        "an editor, `mlflow gc`), or run the command again later"
    )


def explained_error(error: BaseException, place: Path | str) -> SplatsweepError | None:
    """What an exception says of the database at a place (a file, or an address without credentials).

    None where it says nothing of it, and where a value or row was refused, which callers tell apart.
    """
    if version := _SCHEMA.search(str(error)):
        return _other_version(version[1] or version[2], place)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error | exc.SQLAlchemyError):
        cause = cause.__cause__
    if cause is None or isinstance(cause, exc.IntegrityError | exc.DataError):
        return None
    if isinstance(cause, exc.DBAPIError):
        cause = cause.orig or cause
    elif isinstance(cause, exc.SQLAlchemyError) and not isinstance(cause, _UNREADY):
        return None
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, place)
    said = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
    return RegistryError(f"the database at {place} does not do it: {said}; see that it runs and its address is right")


def _of_sqlite(error: sqlite3.Error, place: Path | str) -> SplatsweepError | None:
    """By SQLite's result code. None for those about values."""
    code, put_back = getattr(error, "sqlite_errorcode", 0), "put a backup back (`splatsweep restore FILE --force`)"
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return busy_error(place)
        case sqlite3.SQLITE_READONLY if code in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
            what, remedy = "was left in the middle of a write", "its owner's next `splatsweep models` mends it"
        case sqlite3.SQLITE_READONLY:
            what = "may not be written by this user"
            remedy = "ask its owner, or set SPLATSWEEP_HOME to a folder of your own"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            what, remedy = f"is damaged ({error})", f"move it away, then {put_back}"
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            what = f"cannot be written or read ({error}): its disk is full or fails"
            remedy = "free some space, then run the same command again"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            what, remedy = f"cannot be opened ({error})", "see that this user may read it, and write its folder"
        case sqlite3.SQLITE_ERROR | sqlite3.SQLITE_SCHEMA:
            what, remedy = f"is not as this MLflow makes it ({error})", f"move it away, then {put_back}"
        case _:
            return None
    return StorageError(f"the database {place} {what}; {remedy}")


def _other_version(found: str, place: Path | str) -> RegistryError:
    if found in {script.revision for script in _scripts().walk_revisions()}:
        url = f"sqlite:///{place}" if isinstance(place, Path) else place
        return RegistryError(
            f"the database {place} is of an older MLflow (schema {found}); back it up (`splatsweep backup FILE`), then "
            f"run `mlflow db upgrade {url}`"
        )
    return RegistryError(
        f"the database {place} is of a newer MLflow (schema {found}); install that one, or put back a backup that "
        "this one made"
    )


def _scripts() -> Any:
    """MLflow's migrations."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    return ScriptDirectory.from_config(_get_alembic_config(""))


def _read_version(file: Path, timeout: float) -> str | None:
    # one that may be written is opened for it: whoever comes first takes back a write that was cut off
    query = {"mode": "rw"} if may_write(file) else _reading(file)
    with closing(_connected(file, query, timeout)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE name = 'alembic_version'").fetchall()
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall() if tables else []
    return str(rows[0][0]) if rows else None


def _reading(file: Path) -> dict[str, str]:
    """SQLite's words for opening a file to read it, under its locks and beside its writers.

    One in WAL mode needs an index beside it. Where nobody has it open (no `-wal`) and none can be made, it is read as a
    file that does not change.
    """
    query = {"mode": "ro"}
    if os.access(file.parent, os.W_OK) or file.with_name(f"{file.name}-wal").exists():
        return query
    try:
        with closing(_connected(file, query, 0)) as connection:
            connection.execute("SELECT name FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:  # others come again, and are explained
        if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_READONLY_DIRECTORY, sqlite3.SQLITE_CANTOPEN):
            return {**query, "immutable": "1"}
    return query


def open_to_read(file: Path) -> sqlite3.Connection:
    """A connection that writes nothing and waits for nobody; a file that is not there is not made."""
    return _connected(file, _reading(file), 0)


def _connected(file: Path, query: dict[str, str], timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?{urlencode(query)}", uri=True, timeout=timeout, isolation_level=None
    )


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def say_busy(file: Path) -> None:
    """To whoever waits, on standard error."""
    log.warning("the database %s is busy; waiting up to %.0f s", file, BUSY_SECONDS)


def _say_if_busy(file: Path) -> None:
    """Of a call that takes long: whether it waits for another program, and not for this one's own write to end."""
    try:
        with closing(_connected(file, {"mode": "rw" if may_write(file) else "ro"}, QUIET_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE" if may_write(file) else "SELECT name FROM sqlite_schema")
    except sqlite3.Error as error:
        if _is_busy(error):  # what else is wrong, the call itself says
            say_busy(file)
