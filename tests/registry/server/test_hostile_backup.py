"""Backups made to harm: the manifest fits its files, and what is in them is wrong. Nothing is lost by trying one."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from registry.server.backup import MANIFEST, backup
from registry.server.places import Places
from registry.server.restore import restore
from registry.tracking.embedded_store import embedded_address
from ssl_core.errors import RegistryError

Files = dict[str, bytes]


def places(home: Path) -> Places:
    return Places(embedded_address(home), None, str(home / "mlartifacts"), home)


@pytest.fixture
def kept(home: Path) -> Path:
    """A registry whose artifacts are worth keeping."""
    (home / "mlartifacts").mkdir()
    (home / "mlartifacts" / "mine").write_text("mine")
    return home


@pytest.fixture(scope="module")
def honest(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Members of a backup of an empty store."""
    folder = tmp_path_factory.mktemp("honest")
    shutil.copyfile(migrated, folder / "mlflow.db")
    backup(places(folder), folder / "file.tar")
    with tarfile.open(folder / "file.tar") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def written(to: Path, members: Files, **manifest: Any) -> Path:
    """A backup of these files, with a manifest that fits them where nothing else is said."""
    facts = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in members.items()
        if name != MANIFEST
    }
    said = {**json.loads(members[MANIFEST]), "files": facts, **manifest}
    with tarfile.open(to, "w") as tar:
        for name, data in {**members, MANIFEST: json.dumps(said).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return to


def refused(kept: Path, file: Path) -> str:
    before = hashlib.sha256((kept / "mlflow.db").read_bytes()).hexdigest()
    with pytest.raises(RegistryError) as told:
        restore(places(kept), file, force=True)
    assert (kept / "mlartifacts" / "mine").read_text() == "mine"
    assert hashlib.sha256((kept / "mlflow.db").read_bytes()).hexdigest() == before
    assert not list(kept.glob(".restoring.*"))
    return str(told.value)


def test_the_honest_one_is_taken(honest, kept, tmp_path):
    assert restore(places(kept), written(tmp_path / "file.tar", honest), force=True).files == 0
    assert not (kept / "mlartifacts" / "mine").exists()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def scrambled(data: bytes) -> bytes:
    """Every page but the first."""
    return data[:4096] + bytes(byte ^ 0x55 for byte in data[4096:])


@pytest.mark.parametrize(
    "change", [lambda _: b"", lambda _: b"no database", lambda _: b"SQLite format 3\0" + b"x" * 4080, half, scrambled]
)
def test_a_database_that_is_none_is_refused(honest, kept, tmp_path, change):
    bad = {**honest, "database": change(honest["database"])}
    assert "nothing was restored" in refused(kept, written(tmp_path / "bad.tar", bad))


def test_a_backup_without_its_database_is_refused(honest, kept, tmp_path):
    assert "lacks a database" in refused(kept, written(tmp_path / "bad.tar", {MANIFEST: honest[MANIFEST]}))


@pytest.mark.parametrize("size", [-5, 0, 10**18, 10**40])
def test_sizes_that_are_not_those_of_the_files_are_refused(honest, kept, tmp_path, size):
    names = [name for name in honest if name != MANIFEST]
    facts = {name: {"sha256": hashlib.sha256(honest[name]).hexdigest(), "bytes": size} for name in names}
    assert "does not hold what" in refused(kept, written(tmp_path / "bad.tar", honest, files=facts))


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "5", "{}", '{"files": 1}', "\ud800"])
def test_a_manifest_that_is_none_is_refused(honest, kept, tmp_path, text):
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        data = text.encode("utf-8", "surrogatepass")
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    assert "is damaged" in refused(kept, tmp_path / "bad.tar")
