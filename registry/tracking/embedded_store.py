"""The store under a home folder: its address, and what it says of its artifacts after the home was moved or copied.

MLflow keeps the full path of every run's and model's artifacts. Wherever the home lies when it is opened, they are
beside its database: rows that name another place, where the home was when they were written, are brought up to date.
"""

import atexit
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from ssl_core.errors import RegistryError

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""columns in which the store names its artifacts by their full paths"""


def embedded_address(home: Path) -> str:
    """Of the store under a home folder."""
    return sqlite_address(home.resolve() / DATABASE)


def sqlite_address(file: Path) -> str:
    """SQLAlchemy's address of an absolute path, whatever characters are in it.

    Of an address that begins with `sqlite:///` MLflow makes the folder, and takes the escapes in it for its name; with
    the driver named it makes none.
    """
    import sqlalchemy as sa

    plain = f"sqlite:///{file}"
    escaped = sa.URL.create("sqlite", database=str(file)).render_as_string()
    return plain if escaped == plain else escaped.replace("sqlite:", "sqlite+pysqlite:", 1)


def artifact_root(home: Path) -> str:
    """URI of the folder of artifacts, under which MLflow makes one for each run and model."""
    return (home.resolve() / ARTIFACTS).as_uri()


def settle(home: Path, experiment: str) -> None:
    """Of a home that was moved or copied: from now on its store names the artifacts that lie in it.

    Raises RegistryError: as `moved_from`, or the database cannot be written.
    """
    database = home / DATABASE
    if (before := moved_from(home, experiment)) is None:
        return
    try:
        with closing(sqlite3.connect(database)) as connection:
            move_paths(connection, before, home / ARTIFACTS)
    except sqlite3.OperationalError as error:
        raise RegistryError(
            f"{database} names its artifacts in {before}, where they were, and that cannot be changed ({error}); "
            "make it writable, or try again when no other program uses it"
        ) from None


def copy_at_home(home: Path, experiment: str) -> Path | None:
    """For who may not write, or means not to: a copy of a moved home's database, kept until the process ends, that
    names the artifacts in the home. None where the database does so itself.

    Raises RegistryError: as `moved_from`.
    """
    database = home / DATABASE
    if (before := moved_from(home, experiment)) is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="splatsweep-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with closing(sqlite3.connect(folder / DATABASE)) as copy:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            connection.backup(copy)
        move_paths(copy, before, home / ARTIFACTS)
    return folder / DATABASE


def moved_from(home: Path, experiment: str) -> Path | None:
    """The folder of artifacts that the store names, where it is of another home; None for a store that is at home.

    A home under another name, by a link or a mount that is also reached by the old one, is at home. `experiment` is the
    one whose artifacts lie directly in the folder.

    Raises:
        RegistryError: the database is a copy, and its artifacts were left where they were.
    """
    database, here = home / DATABASE, home / ARTIFACTS
    before = _recorded(database, experiment) if database.is_file() else None
    if before is None or _same(before, here):
        return None
    if not here.is_dir() and os.access(before, os.F_OK):
        raise RegistryError(
            f"{home} holds a copy of the database of {before.parent} without its artifacts; copy {before} to {here}, "
            f"or set SPLATSWEEP_HOME to {before.parent}"
        )
    return before


def move_paths(connection: sqlite3.Connection, before: Path, after: Path) -> None:
    """Rename the folder of artifacts where the rows name it, in one transaction.

    They name it by a URI, or by a path as it is, which earlier revisions also wrote behind `file://`.
    """
    with connection:
        for table, column in _PATHS:
            for old in (before.as_uri(), f"file://{before}", str(before)):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (after.as_uri(), len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def _same(before: Path, here: Path) -> bool:
    try:
        return before == here or before.samefile(here)
    except OSError:  # one of them is not there
        return False


def _recorded(database: Path, experiment: str) -> Path | None:
    """Where the artifacts were when the experiment was made; None without one, or with a place of its own."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            asked = "SELECT artifact_location FROM experiments WHERE name = ?"
            row = connection.execute(asked, (experiment,)).fetchone()
    except sqlite3.Error:  # no such table yet; of damage MLflow speaks when it opens the database
        return None
    place = urlparse(str(row[0])) if row else None
    if place is None or place.scheme not in ("", "file") or not place.path.endswith(f"/{ARTIFACTS}"):
        return None
    return Path(url2pathname(place.path))
