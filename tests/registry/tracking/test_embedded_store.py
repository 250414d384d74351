"""Homes with any characters in their paths, and homes that were moved or copied: artifacts lie beside the database."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking._tracking_service import utils

from registry.server.backup import backup
from registry.server.places import places_of
from registry.server.restore import restore
from registry.tracking.connection import connect
from registry.tracking.embedded_store import artifact_root, settle
from registry.tracking.run_log import open_run_log
from ssl_core.errors import RegistryError

STRANGE = "work%2Fspace 100%?a=1#top;'\"&$é\nline"


def made(home: Path, migrated: Path) -> str:
    """A home whose store has one run with one file; the run's id."""
    home.mkdir(parents=True)
    shutil.copyfile(migrated, home / "mlflow.db")
    with open_run_log(None, home) as log:
        run = log.start_run("a-study", {}, {})
        log.log_text(run, "text", "folder/file.txt")
    return run


def read(home: Path, run: str, name: str = "folder/file.txt") -> str:
    with open_run_log(None, home) as log:
        return log.read_file(run, name).decode()


def write(home: Path, run: str, name: str) -> None:
    """As a process of its own does: MLflow remembers for a run's id where its files go."""
    utils._artifact_repos_cache.clear()
    with open_run_log(None, home) as log:
        log.log_text(run, name, name)


def named(home: Path) -> set[str]:
    """The places that the database names, each up to the folder of artifacts."""
    with sqlite3.connect(home / "mlflow.db") as connection:
        places = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'splatsweep' UNION SELECT artifact_uri FROM runs"
        )
        return {place.partition("/mlartifacts")[0] + "/mlartifacts" for (place,) in places}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "before" / "home"


def test_any_characters(tmp_path: Path, migrated: Path) -> None:
    home, other = tmp_path / STRANGE, tmp_path / STRANGE.partition("?")[0]
    run, there = made(home, migrated), made(other, migrated)
    assert read(home, run) == "text"
    with pytest.raises(RegistryError):
        read(other, run)
    assert read(other, there) == "text"
    assert {path.name for path in tmp_path.iterdir()} == {home.name, other.name}
    assert all((place / "mlflow.db").exists() for place in (home, other))
    assert {path.parent for path in tmp_path.rglob("mlflow.db")} == {home, other}


def test_a_store_is_made_from_nothing(tmp_path: Path) -> None:
    home = tmp_path / STRANGE
    with open_run_log(None, home) as log:
        run = log.start_run("a-study", {}, {})
    assert read_tags(home, run) == "splatsweep"
    assert [path.name for path in tmp_path.iterdir()] == [STRANGE]


def read_tags(home: Path, run: str) -> str:
    with open_run_log(None, home) as log:
        return str(log.find_run(run).data.tags["mlflow.source.name"])


def test_backed_up_there_and_restored_elsewhere(tmp_path: Path, migrated: Path) -> None:
    home, other = tmp_path / STRANGE, tmp_path / f"other {STRANGE}"
    run = made(home, migrated)
    with places_of(home, "embedded", {}) as places:
        backup(places, tmp_path / "registry.tar")
    with places_of(other, "embedded", {}) as places:
        restore(places, tmp_path / "registry.tar")
    shutil.rmtree(home)
    assert named(other) == {artifact_root(other)}
    assert read(other, run) == "text"


def test_moved(home: Path, tmp_path: Path, migrated: Path) -> None:
    run, new = made(home, migrated), tmp_path / STRANGE
    home.parent.rename(new)
    assert read(new / "home", run) == "text"
    write(new / "home", run, "later.txt")
    assert read(new / "home", run, "later.txt") == "later.txt"
    assert not home.parent.exists()
    assert named(new / "home") == {artifact_root(new / "home")}


def test_a_copy_leaves_the_old_one_alone(home: Path, tmp_path: Path, migrated: Path) -> None:
    run, copy = made(home, migrated), tmp_path / "copy"
    shutil.copytree(home, copy)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    write(copy, run, "copy.txt")
    assert read(copy, run, "copy.txt") == "copy.txt"
    shutil.rmtree(copy / "mlartifacts" / run)
    with pytest.raises(RegistryError):
        read(copy, run)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    assert read(home, run) == "text"


def test_a_copied_database_without_its_artifacts(home: Path, tmp_path: Path, migrated: Path) -> None:
    run, copy = made(home, migrated), tmp_path / "copy"
    copy.mkdir()
    shutil.copyfile(home / "mlflow.db", copy / "mlflow.db")
    with pytest.raises(RegistryError, match=f"copy {home}/mlartifacts to {copy}/mlartifacts") as raised:
        read(copy, run)
    assert "\n" not in str(raised.value)
    assert named(copy) == {artifact_root(home)}


def test_one_home_under_two_names(home: Path, tmp_path: Path, migrated: Path) -> None:
    made(home, migrated)
    (tmp_path / "link").symlink_to(home.parent)
    other = tmp_path / "link" / "home"  # unresolved, as another mount of the same folder looks
    settle(other, "splatsweep")
    assert named(home) == {artifact_root(home)}


def test_a_moved_home_is_read_without_a_word_written_into_it(tmp_path: Path) -> None:
    connect(None, tmp_path / "old", "splatsweep")
    home = (tmp_path / "old").rename(tmp_path / "new")
    before = (home / "mlflow.db").read_bytes()
    assert connect(None, home, "splatsweep", reading=True).root == (home / "mlartifacts").as_uri()
    assert (home / "mlflow.db").read_bytes() == before
    assert connect(None, home, "splatsweep").root == (home / "mlartifacts").as_uri(), "opened to write it settles"
    assert (home / "mlflow.db").read_bytes() != before
