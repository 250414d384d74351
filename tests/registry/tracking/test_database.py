"""A database that is busy, damaged, of another version, full or not there: one line each, and nothing gets worse."""

import logging
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from registry.tracking import database
from registry.tracking.connection import UnreachableError, answers, connect
from registry.tracking.database import NoRegistryError, reading_address, sqlite_file
from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError, SplatsweepError, StorageError
from tests.held_database import held, unprivileged


@pytest.fixture(autouse=True)
def _said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "QUIET_SECONDS", 0.2)


@contextmanager
def held_until_said(file: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Another program holds the file until this one has said that it waits."""
    with held(file) as release, caplog.at_level(logging.WARNING):
        said, over = threading.Event(), threading.Event()

        class Listening(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.set()

        def wait() -> None:
            said.wait(60)
            if not over.is_set():
                release()

        listening, waiting = Listening(), threading.Thread(target=wait)
        database.log.addHandler(listening)
        waiting.start()
        try:
            yield
        finally:
            over.set()
            said.set()
            database.log.removeHandler(listening)
            waiting.join()
    assert f"the database {file} is busy; waiting up to 20 s" in caplog.text


@pytest.mark.parametrize("reading", [True, False])
def test_a_store_that_another_program_holds_is_waited_for(
    home: Path, reading: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with held_until_said(home / "mlflow.db", caplog):
        assert connect(None, home, "splatsweep", reading=reading).client.search_experiments()


def test_so_is_one_that_is_held_between_two_calls(store: EncoderStore, caplog: pytest.LogCaptureFixture) -> None:
    assert store.list() == ()
    with held_until_said(store.run_log.home / "mlflow.db", caplog):
        assert store.list() == ()
    with held_until_said(store.run_log.home / "mlflow.db", caplog):
        assert store.run_log.start_run("a", {}, {})


def one_line(error: pytest.ExceptionInfo[SplatsweepError], *words: object) -> None:
    """The text is one line that holds the words."""
    text = str(error.value)
    assert "\n" not in text
    assert all(str(word) in text for word in words), text


@pytest.mark.slow
def test_waiting_ends_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.4)
    with held(home / "mlflow.db"):
        for reading in (True, False):
            with pytest.raises(StorageError) as error:
                connect(None, home, "splatsweep", reading=reading)
            one_line(error, f"the database {home / 'mlflow.db'} is busy: another program held it for 0 s; end that")
        with pytest.raises(UnreachableError, match="is busy"), answers():  # the mirror waits, and refuses nothing
            connect(None, home, "splatsweep")


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database" * 1000)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_bytes(file: Path) -> None:
    file.write_bytes(b"")


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def of_another_program(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE visits (place TEXT)")


def of_revision(name: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        with closing(sqlite3.connect(file)) as stored, stored:
            stored.execute("UPDATE alembic_version SET version_num = ?", (name,))
            stored.execute("DROP TABLE webhook_events")  # MLflow would make it, and migrate the rest

    return change


DAMAGE = {
    "garbage": (garbage, "is damaged (file is not a database); move it away, then put a backup back"),
    "cut": (cut, "is damaged (database disk image is malformed); move it away"),
    "no bytes": (no_bytes, "is empty or none of MLflow's; move it away"),
    "a folder": (a_folder, "is a folder, where the registry's database should be; move it away"),
    "of another program": (of_another_program, "is empty or none of MLflow's; move it away"),
    # a migration of 2019, and one that nobody has heard of
    "older": (of_revision("df50e92ffc5e"), "older MLflow (schema df50e92ffc5e); back it up (`splatsweep backup FILE`)"),
    "newer": (of_revision("feedfeedfeed"), "newer MLflow (schema feedfeedfeed); install that one"),
}


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_one_line_and_stays_as_it_is(home: Path, kind: str, reading: bool) -> None:
    file, (damage, words) = home / "mlflow.db", DAMAGE[kind]
    damage(file)
    before = sorted(file.iterdir()) if file.is_dir() else file.read_bytes()
    with pytest.raises(SplatsweepError) as error, open_run_log(None, home, reading=reading) as log:
        EncoderStore(log).list()
    one_line(error, file, words)
    with pytest.raises(UnreachableError), answers():
        connect(None, home, "splatsweep", reading=reading)
    assert before == (sorted(file.iterdir()) if file.is_dir() else file.read_bytes())


def test_damage_that_shows_later_is_one_line_too(store: EncoderStore) -> None:
    assert store.list() == ()
    file = store.run_log.home / "mlflow.db"
    content = bytearray(file.read_bytes())
    content[4096:] = b"x" * (len(content) - 4096)
    content[24:28] = b"new!"  # of SQLite's counter of changes: else it believes what it remembers
    file.write_bytes(content)
    with pytest.raises(StorageError) as error:
        store.list()
    one_line(error, f"the database {file} is damaged", "move it away")


def test_a_full_disk_is_one_line(log: RunLog) -> None:
    file = log.home / "mlflow.db"
    assert log.connection.experiment_id
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, hard))
    try:
        with pytest.raises(StorageError) as error:
            log.start_run("a", {f"text{number}": "x" * 5000 for number in range(100)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_line(error, f"the database {file} cannot be written", "free some space")
    assert log.start_run("afterwards", {}, {})


def test_a_server_that_is_down_is_one_line_at_once() -> None:
    pytest.importorskip("psycopg2")
    address = "postgresql+psycopg2://ann:secret@127.0.0.1:1/mlflow"
    for reading in (True, False):
        with pytest.raises(RegistryError) as error, open_run_log(address, Path("nowhere"), reading=reading) as log:
            EncoderStore(log).list()
        one_line(error, "the database at postgresql+psycopg2://127.0.0.1:1/mlflow", "refused", "start it")
    assert "secret" not in str(error.value)


def test_making_a_store_is_not_taken_for_another_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        connect(None, tmp_path, "splatsweep")
    assert "busy" not in caplog.text


def test_reading_makes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "none"
    with open_run_log(None, home, reading=True) as log:
        store = EncoderStore(log)
        assert store.list() == ()
        assert log.find_runs({"a": "b"}) == []
        with pytest.raises(RegistryError, match="none are registered"):
            store.resolve("nobody/1")
        with pytest.raises(RegistryError, match="none are registered"):
            store.resolve("nobody@champion")
        with pytest.raises(NoRegistryError, match=r"nothing is registered yet: there is no .*mlflow\.db; run a study"):
            assert log.client
    assert not home.exists()
    home.mkdir()
    (home / ".mlflow.db.unfinished").touch()  # another command is making the store
    no_bytes(home / "mlflow.db")
    with open_run_log(None, home, reading=True) as log:
        assert EncoderStore(log).list() == ()
    assert len(list(home.iterdir())) == 2


def test_reading_leaves_a_store_as_it_is(store: EncoderStore) -> None:
    home = store.run_log.home
    store.run_log.start_run("a", {"splatsweep.kind": "study"}, {})
    (home / "mlflow.lock").unlink()
    before = {file: file.stat() for file in home.rglob("*")}
    with open_run_log(None, home, experiment="another", reading=True) as log:
        assert EncoderStore(log).list() == ()
        assert log.find_runs({"splatsweep.kind": "study"}) == []
    with open_run_log(None, home, reading=True) as log:
        assert len(log.find_runs({"splatsweep.kind": "study"})) == 1
    assert {file: file.stat().st_mtime_ns for file in home.rglob("*")} == {
        file: stat.st_mtime_ns for file, stat in before.items()
    }


@pytest.mark.parametrize("name", ["plain", "with space", "50%2F", "a?b#c", "ü'\""])
def test_a_file_is_read_whatever_its_name(tmp_path: Path, migrated: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(migrated.read_bytes())
    address = reading_address(folder / "mlflow.db")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        connection = connect(address, tmp_path, "splatsweep", reading=True)
        assert connection.client.get_experiment("0").name == "Default"
        with pytest.raises(StorageError, match="may not be written by this user"):
            connection.client.create_experiment("more")
    finally:
        os.chdir(here)
    assert [file.name for file in tmp_path.iterdir()] == [name], "no folder is made after the address"


READER = """
import sys
from pathlib import Path
import sqlalchemy as sa
from registry.tracking.database import free_version, may_write, reading_address

file = Path(sys.argv[1])
with sa.create_engine(reading_address(file)).connect() as connection:
    experiments = connection.execute(sa.text("SELECT count(*) FROM experiments")).scalar()
print(may_write(file), free_version(file) is not None, experiments, "immutable" in reading_address(file))
"""


@pytest.mark.parametrize("mode", ["delete", "wal", "wal, in use"])
def test_a_file_is_read_where_nothing_may_be_written(home: Path, mode: str) -> None:
    """In write-ahead mode it wants an index beside it; with nobody writing, it can do without."""
    writer = sqlite3.connect(home / "mlflow.db")
    writer.execute(f"PRAGMA journal_mode = {mode.split(',')[0]}")
    if mode == "wal, in use":
        writer.execute("UPDATE experiments SET last_update_time = 1")
        writer.commit()
        assert (home / "mlflow.db-wal").stat().st_size
    else:
        writer.close()
    for file in home.iterdir():
        file.chmod(0o444)
    home.chmod(0o555)
    try:
        words = [*unprivileged(), sys.executable, "-c", READER, str(home / "mlflow.db")]
        root = str(Path(__file__).resolve().parents[3])
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
        assert done.stdout.split() == ["False", "True", "2", str(mode == "wal")], done.stderr
    finally:
        home.chmod(0o755)
        writer.close()


def test_addresses() -> None:
    assert sqlite_file("sqlite:////home/ann/mlflow.db") == Path("/home/ann/mlflow.db")
    assert sqlite_file("sqlite://") is None
    assert sqlite_file("postgresql://host/mlflow") is None
    assert sqlite_file("http://host") is None
