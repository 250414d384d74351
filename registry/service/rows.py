"""The rows of a database as text, one file per table and one JSON line per row; and back.

SQLite and Postgres give and take the same lines, so a registry moves from one to the other, no program of the
database's own is needed, and its version does not matter; MLflow's must be the same. The tables themselves are made by
MLflow. After writing, every table is read back and compared.
"""

import base64
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from registry.connection import import_mlflow, without_credentials
from ssl_core.config import parse_json
from ssl_core.errors import IntegrityError, RegistryError

_CHUNK = 1000
Row = dict[str, Any]
Moved = Callable[[str, Row], Row]
"""a table's name and a row; the row as it shall be written"""


def dump_rows(address: str, folder: Path) -> dict[str, int]:
    """Write all tables of a database into a folder, as of one moment; the number of rows of each.

    Raises:
        RegistryError: the database does not answer.
    """
    counts = {}
    with _told(address), _snapshot(address) as connection:
        tables = _tables(connection)
        for name in sorted(tables):
            with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                counts[name] = sum(file.write(line + "\n") > 0 for line in _lines(connection, tables[name]))
    return counts


def load_rows(address: str, folder: Path, moved: Moved) -> int:
    """Replace all rows of a database by those of a folder, or none of them; how many there are.

    Raises:
        RegistryError: the folder's tables are not this database's, or the database does not answer.
        IntegrityError: what was read back is not what was written; the database is as it was.
    """
    engine = _engine(address)
    try:
        with _told(address), engine.begin() as connection:
            tables = _tables(connection)
            _check_same(tables, folder, connection)
            total = 0
            in_order = sa.MetaData()
            in_order.reflect(connection)
            names = [table.name for table in in_order.sorted_tables if not table.name.startswith("alembic_version")]
            for name in reversed(names):
                connection.execute(tables[name].delete())
            for name in names:
                total += _load_table(connection, tables[name], folder / f"{name}.jsonl", moved)
            return total
    finally:
        engine.dispose()


def make_tables(address: str) -> None:
    """MLflow's tables for runs and models, where they are missing."""
    import_mlflow()
    from mlflow.store.db.utils import _initialize_tables

    engine = _engine(address)
    # not by a client of MLflow's: it remembers which databases it has seen, whatever became of them
    with _told(address):
        if not sa.inspect(engine).get_table_names():
            _initialize_tables(engine)
    engine.dispose()


def make_user_tables(address: str) -> None:
    """MLflow's tables for users, where they are missing."""
    from mlflow.server.auth.db.utils import migrate_if_needed

    engine = _engine(address)
    with _told(address):
        migrate_if_needed(engine, "head")
    engine.dispose()


def count_rows(address: str, names: tuple[str, ...]) -> int:
    """Rows in these tables of a database; none for tables that are not there."""
    engine = _engine(address)
    try:
        with _told(address), engine.connect() as connection:
            tables = _tables(connection)
            queries = [sa.select(sa.func.count()).select_from(tables[name]) for name in names if name in tables]
            return sum(int(connection.execute(query).scalar_one()) for query in queries)
    finally:
        engine.dispose()


def set_password(address: str, user: str, password: str) -> None:
    """Give a user of MLflow's users' database another password."""
    from werkzeug.security import generate_password_hash

    engine = _engine(address)
    with _told(address), engine.begin() as connection:
        users = _tables(connection)["users"]
        connection.execute(
            users.update().where(users.c.username == user).values(password_hash=generate_password_hash(password))
        )
    engine.dispose()


# inside


def _engine(address: str) -> sa.Engine:
    return sa.create_engine(address)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """A database's troubles in one line, without its password."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        first = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise RegistryError(f"{without_credentials(address)}: {first}; is the database running?") from None


@contextmanager
def _snapshot(address: str) -> Iterator[sa.Connection]:
    """A connection that sees one moment, whoever writes meanwhile."""
    file = address.removeprefix("sqlite:///")
    if file == address:
        engine = sa.create_engine(address, isolation_level="REPEATABLE READ")
        with engine.connect() as connection:
            yield connection
        engine.dispose()
        return
    with tempfile.TemporaryDirectory(prefix="splatsweep-") as scratch:
        copy = Path(scratch) / "copy.db"
        source, target = sqlite3.connect(f"file:{file}?mode=ro", uri=True), sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        engine = sa.create_engine(f"sqlite:///{copy}")
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def _tables(connection: sa.Connection) -> dict[str, sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.tables.values():
        for column in table.columns:
            if isinstance(column.type, sa.JSON):
                column.type = sa.JSON(none_as_null=True)  # no value stays no value, not the text null
    return dict(found.tables)


def _check_same(tables: Mapping[str, sa.Table], folder: Path, connection: sa.Connection) -> None:
    theirs = {file.stem for file in folder.glob("*.jsonl")}
    remedy = "restore with the MLflow that the backup names, then upgrade (mlflow db upgrade)"
    if theirs != set(tables):
        odd = ", ".join(sorted(theirs ^ set(tables))[:5])
        raise RegistryError(f"the backup is of another version of MLflow (tables {odd}); {remedy}")
    for name in sorted(name for name in theirs if name.startswith("alembic_version")):
        here = sorted(_lines(connection, tables[name]))
        if here != sorted((folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()):
            raise RegistryError(f"the backup is of another version of MLflow ({name} differs); {remedy}")


def _lines(connection: sa.Connection, table: sa.Table) -> Iterator[str]:
    query = sa.select(table).order_by(*(table.primary_key.columns or table.columns))
    names = list(table.columns.keys())
    # an option of the query: one of the connection would stay and break what is written next
    for row in connection.execute(query.execution_options(yield_per=_CHUNK)):
        yield json.dumps({name: _plain(value) for name, value in zip(names, row, strict=True)}, sort_keys=True)


def _load_table(connection: sa.Connection, table: sa.Table, file: Path, moved: Moved) -> int:
    written, count, chunk = 0, 0, list[Row]()
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = moved(table.name, parse_json(line))
                written, count = written + _fingerprint(json.dumps(row, sort_keys=True)), count + 1
                chunk.append({name: _value(value) for name, value in row.items()})
                if len(chunk) == _CHUNK:
                    connection.execute(table.insert(), chunk)
                    chunk = []
        if chunk:
            connection.execute(table.insert(), chunk)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # no row, or a number no column holds
        reason = " ".join(str(error).split())[:120]
        raise IntegrityError(f"table {table.name} of the backup is damaged ({reason}); nothing was restored") from None
    if sum(_fingerprint(line) for line in _lines(connection, table)) != written:
        raise IntegrityError(f"table {table.name} does not read back as it was written; nothing was restored")
    _set_counters(connection, table)
    return count


def _set_counters(connection: sa.Connection, table: sa.Table) -> None:
    """Postgres numbers new rows from a counter, which rows with their own numbers do not move."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key.columns:
        if isinstance(column.type, sa.Integer):
            counter = sa.func.pg_get_serial_sequence(f'"{table.name}"', column.name)
            name = connection.execute(sa.select(counter)).scalar_one()
            last = connection.execute(sa.select(sa.func.max(column))).scalar_one()
            if name is not None and last is not None:
                connection.execute(sa.select(sa.func.setval(name, last)))


def _fingerprint(line: str) -> int:
    """Summed over rows it does not depend on their order: two databases sort texts differently."""
    return int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes() | memoryview():
            return {"bytes": base64.b64encode(bytes(value)).decode()}
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case dict() | list():
            return {"json": value}
    raise RegistryError(f"a database holds a value of type {type(value).__name__}, which a backup cannot keep")


def _value(plain: Any) -> Any:
    match plain:
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case {"datetime": str(text)}:
            return datetime.fromisoformat(text)
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case {"json": value}:
            return value
    return plain
