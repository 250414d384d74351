"""Backup and restore of an embedded registry: the same answers afterwards, and no file that is not whole is taken."""

import hashlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.server.backup import MANIFEST, backup
from registry.server.databases import check_saved, is_empty, replaced, save, upgrade
from registry.server.places import Places, places_of, settings_of
from registry.server.postgres import address, lacking, running_postgres
from registry.server.restore import is_member, manifest_of, restore
from registry.server.secret_file import service_secrets, write_access
from registry.tracking.run_log import open_run_log
from registry.versions.fetching import pull
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore
from ssl_core.errors import IntegrityError, MissingDependencyError, RegistryError

NAME = "cross-modal-points"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated: Path, bundles: list[Path]) -> Path:
    """Two versions, a champion, metrics with holes, a text with everything in it. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copyfile(migrated, folder / "mlflow.db")
    with open_run_log(None, folder) as log:
        trial = log.start_nested(log.start_run("a-study", {}, {}), "trial-004", {}, {"lr": 0.1})
        lineage = Lineage(study="a-study", trial=4, run_id=trial, seed=7, pack_digest="feed")
        store = EncoderStore(log)
        first = store.register(bundles[0], NAME, lineage, trial)
        store.register(bundles[1], NAME, lineage, trial)
        store.set_alias(store.add_event(first, "promoted", "ünlike 'others' \\ \n"), "champion")
        log.client.log_metric(trial, "nan", float("nan"))
        log.client.log_metric(trial, "infinite", float("inf"))
        log.log_text(trial, "text", "folder/file.txt")
    return folder


@pytest.fixture(scope="module")
def saved(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "registry.tar"
    done = backup(places(home), file)
    assert done.files >= 8
    return file


@pytest.fixture(scope="module")
def before(home: Path, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answers(home, tmp_path_factory.mktemp("before"))


def answers(home: Path, to: Path) -> dict[str, Any]:
    """What a user of the registry sees: versions, aliases, events, runs, bytes."""
    with open_run_log(None, home) as log:
        store = EncoderStore(log)
        versions = store.list()
        runs = log.client.search_runs([log.connection.experiment_id], order_by=["attributes.run_id"])
        pulled = {}
        for version in versions:
            folder = pull(store, version.reference, to / str(version.version))
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            pulled[version.reference] = {str(file.relative_to(folder)): file.read_bytes() for file in files}
        return {
            "versions": [version.model_dump() for version in versions],
            "champion": store.resolve(f"{NAME}@champion").version,
            "runs": [
                (run.info.run_id, run.data.params, run.data.tags, str(sorted(run.data.metrics.items()))) for run in runs
            ],
            "bytes": pulled,
        }


def state(home: Path) -> dict[str, str]:
    """The digest of every file of a home."""
    files = sorted(file for file in home.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {str(file.relative_to(home)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def fresh(home: Path, migrated: Path) -> Path:
    """A home whose database has its tables and nothing else: making them takes seconds."""
    home.mkdir()
    shutil.copyfile(migrated, home / "mlflow.db")
    return home


def places(home: Path) -> Places:
    with places_of(home, environ={}) as found:
        return found


@pytest.mark.slow
def test_backup_wipe_restore_gives_the_same_answers(home: Path, saved: Path, tmp_path: Path) -> None:
    before = asked(home, tmp_path / "before")
    away = home.rename(home.with_name("away"))
    try:
        done = restore(places(home), saved)
        assert done.files >= 8
        assert asked(home, tmp_path / "after") == before
        assert not [path.name for path in home.iterdir() if path.name.startswith((".restoring", ".mlartifacts"))]
    finally:
        shutil.rmtree(home)
        away.rename(home)


def asked(home: Path, to: Path) -> str:
    """The digest of `answers`, given by another process: MLflow keeps hold of a database that it has opened."""
    code = (
        "import hashlib, json, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
        "from test_service_backup import answers; found = answers(Path(sys.argv[2]), Path(sys.argv[3])); "
        "print(hashlib.sha256(json.dumps(found, sort_keys=True, default=repr).encode()).hexdigest())"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(home), str(to)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1]


def test_another_home_gets_the_same_bytes(saved: Path, before: dict[str, Any], migrated: Path, tmp_path: Path) -> None:
    elsewhere = fresh(tmp_path / "elsewhere", migrated)
    restore(places(elsewhere), saved)
    after = answers(elsewhere, tmp_path / "after")
    with open_run_log(None, elsewhere) as log:  # and it goes on: new rows get new numbers
        log.client.log_param(log.start_run("new", {}, {}), "p", "1")
    assert {key: after[key] for key in ("bytes", "versions", "champion")} == {
        key: before[key] for key in ("bytes", "versions", "champion")
    }


def test_a_registry_that_holds_something_is_kept_unless_forced(
    saved: Path, before: dict[str, Any], migrated: Path, tmp_path: Path
) -> None:
    there = fresh(tmp_path / "there", migrated)
    restore(places(there), saved)
    with open_run_log(None, there) as log:
        log.start_run("later", {}, {})
    held = state(there)
    with pytest.raises(RegistryError, match=r"not empty; .* --force"):
        restore(places(there), saved)
    assert state(there) == held
    restore(places(there), saved, force=True)
    assert len(answers(there, tmp_path / "after")["runs"]) == len(before["runs"])
    with pytest.raises(RegistryError, match="exists; choose another name"):
        backup(places(there), saved)


def test_the_file_is_its_owners(saved: Path) -> None:
    assert saved.stat().st_mode & 0o077 == 0
    assert (manifest_of(saved).kind, manifest_of(saved).engine) == ("embedded", "sqlite")
    assert not saved.with_name(f".{saved.name}.part").exists()


def test_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no registry under"):
        backup(places(tmp_path / "none"), tmp_path / "file.tar")
    with pytest.raises(RegistryError, match="there is no"):
        manifest_of(tmp_path / "file.tar")


# files that are not what was written


def rewritten(saved: Path, to: Path, change) -> Path:
    """The backup with its members changed by `change(dict of name -> bytes)`; a list may hold a name twice."""
    with tarfile.open(saved) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(to, "w") as tar:
        for name, data in change(members):
            member = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(data, bytes):
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            else:
                tar.addfile(member)
    return to


def link(name: str, target: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = tarfile.SYMTYPE, target
    return made


def flip(members):
    index = next(i for i, (name, _) in enumerate(members) if name.endswith("encoder.safetensors"))
    name, data = members[index]
    return [*members[:index], (name, data[:-1] + bytes([data[-1] ^ 1])), *members[index + 1 :]]


def manifest_says(**changes):
    def change(members):
        said = json.loads(dict(members)[MANIFEST])
        return [*(m for m in members if m[0] != MANIFEST), (MANIFEST, json.dumps({**said, **changes}).encode())]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (flip, "not what was backed up"),
        (lambda members: members[:-1], "no manifest.json"),
        (lambda members: members[1:], "does not hold what"),
        (lambda members: [*members, ("artifacts/more", b"x")], "does not hold what"),
        (lambda members: [*members, members[0]], "does not hold what"),
        (lambda members: [*members, ("artifacts/../../out", b"x")], "no backup holds"),
        (lambda members: [*members, ("/etc/out", b"x")], "no backup holds"),
        (lambda members: [*members, ("artifacts/link", link("artifacts/link", "/etc"))], "no backup holds"),
        (lambda members: [*members, ("database/x", b"x")], "no backup holds"),
        (manifest_says(format=99), "format 99"),
        (manifest_says(format=1), "format 1; restore it with revision 3e03538"),
        (manifest_says(engine="postgres"), "on postgres, and this one is on sqlite"),
        (manifest_says(more=1), "damaged"),
        (manifest_says(kind="service"), "other kind"),
    ],
)
def test_what_is_not_whole_is_refused_and_nothing_changes(saved: Path, home: Path, tmp_path: Path, change, says):
    held = state(home)
    bad = rewritten(saved, tmp_path / "bad.tar", change)
    with pytest.raises(RegistryError, match=says):
        restore(places(home), bad, force=True)
    assert state(home) == held
    assert not (tmp_path / "out").exists()


def rows(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        return [*connection.iterdump(), *(name for name in state(home) if name != "mlflow.db")]


def sealed(saved: Path, to: Path, database: Path) -> Path:
    """The backup with another database, and a manifest that fits it."""
    data = database.read_bytes()

    def change(members):
        facts = json.loads(dict(members)[MANIFEST])
        facts["files"]["database"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        return list({**dict(members), "database": data, MANIFEST: json.dumps(facts).encode()}.items())

    return rewritten(saved, to, change)


def test_a_database_of_a_newer_mlflow_is_refused_and_the_old_files_come_back(saved: Path, home: Path, tmp_path: Path):
    held, newer = rows(home), tmp_path / "newer.db"
    shutil.copyfile(home / "mlflow.db", newer)
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(RegistryError, match="of a newer MLflow"):
        restore(places(home), sealed(saved, tmp_path / "bad.tar", newer), force=True)
    assert rows(home) == held


def test_a_database_in_use_is_saved_whole(home: Path, migrated: Path, tmp_path: Path) -> None:
    """Half a transaction of somebody else's is not in the copy."""
    shutil.copyfile(migrated, tmp_path / "used.db")
    with closing(sqlite3.connect(tmp_path / "used.db")) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        with writer:
            writer.execute("INSERT INTO experiments (name) VALUES ('whole')")
        writer.execute("INSERT INTO experiments (name) VALUES ('half')")
        save(f"sqlite:///{tmp_path / 'used.db'}", tmp_path / "copy")
        writer.rollback()
    check_saved("sqlite", tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        names = {name for (name,) in copy.execute("SELECT name FROM experiments")}
    assert "whole" in names
    assert "half" not in names


def test_half_a_file_is_refused(saved: Path, home: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.tar"
    half.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    with pytest.raises(IntegrityError):
        restore(places(home), half, force=True)
    half.write_bytes(b"no tar")
    with pytest.raises(IntegrityError, match="not a whole backup"):
        manifest_of(half)


@given(st.text(max_size=30))
def test_no_name_leaves_the_folder(name: str) -> None:
    root = Path("/a/folder")
    for text in (name, f"artifacts/{name}", f"database/{name}"):
        if is_member(text):
            assert (root / text).resolve().is_relative_to(root)
            assert "\0" not in text


@pytest.mark.slow
def test_postgres_gives_and_takes_its_own_dump_or_keeps_what_it_had(tmp_path: Path) -> None:
    import sqlalchemy as sa
    from mlflow.store.db.utils import _initialize_tables

    with tempfile.TemporaryDirectory(prefix="splat-pg-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        if why := lacking(folder):
            pytest.skip(why)
        with running_postgres(folder, "0" * 24, folder / "log") as port:
            there, dump = address("0" * 24, port, "mlflow"), tmp_path / "dump"
            engine = sa.create_engine(there)
            assert is_empty(there)
            _initialize_tables(engine)

            def experiments(add: str = "") -> list[str]:
                with engine.begin() as connection:
                    if add:  # a new row gets a new number, also after a restore
                        connection.execute(sa.text("INSERT INTO experiments (name) VALUES (:name)"), {"name": add})
                    return list(connection.execute(sa.text("SELECT name FROM experiments ORDER BY name")).scalars())

            experiments("kept")
            save(there, dump)
            experiments("later")
            with pytest.raises(ZeroDivisionError), replaced(there, dump):
                assert 1 / (experiments() != ["kept"])
            assert experiments() == ["kept", "later"]
            with replaced(there, dump):
                upgrade(there, "database")
            assert experiments("new") == ["kept", "new"]
            check_saved("postgres", dump)
            dump.write_bytes(dump.read_bytes()[:100])
            with pytest.raises(IntegrityError, match="nothing was restored"):
                check_saved("postgres", dump)
            engine.dispose()


def test_a_missing_pg_dump_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="pg_dump is not on PATH; install PostgreSQL's client programs"):
        save("postgresql+psycopg2://mlflow:secret@127.0.0.1:1/mlflow", tmp_path / "dump")


def test_a_service_is_made_on_the_engine_of_its_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RegistryError, match="on Postgres, and there is none: initdb"):
        settings_of(tmp_path, None, "postgres")
    assert not (tmp_path / "settings.json").exists()
    assert settings_of(tmp_path, None, "sqlite")[0].engine == "sqlite"


# secrets


def test_secrets_are_made_once_and_are_nobody_elses(tmp_path: Path) -> None:
    first = service_secrets(tmp_path)
    assert service_secrets(tmp_path) == first
    assert len({first.administrator, first.database, first.signing}) == 3
    file = tmp_path / "secrets.json"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(RegistryError, match="chmod 600"):
        service_secrets(tmp_path)
    file.chmod(0o600)
    file.write_text(json.dumps({**first.model_dump(), "webhooks": "a key of earlier revisions"}))
    assert service_secrets(tmp_path) == first
    file.write_text('{"administrator": "not to be shown"}')
    with pytest.raises(RegistryError, match="damaged") as caught:
        service_secrets(tmp_path)
    assert "not to be shown" not in str(caught.value)


def test_access_files_are_private(tmp_path: Path) -> None:
    file = write_access(tmp_path, "http://127.0.0.1:5000", "rita", "s3cret")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert "MLFLOW_TRACKING_PASSWORD=s3cret" in file.read_text()
