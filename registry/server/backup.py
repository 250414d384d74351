"""A registry in one file: its databases' own dumps, its artifacts, and a manifest with every file's digest.

A plain .tar, readable by its owner only (it holds the users' hashed passwords). The databases are saved first: whatever
they name was stored before them, so the artifacts that follow are complete even while the registry is in use.
"""

import hashlib
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from registry.server.artifacts import artifact_files
from registry.server.databases import Engine, engine_of, save
from registry.server.places import Kind, Places
from registry.tracking.connection import import_mlflow
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError

FORMAT = 2
MANIFEST, ARTIFACTS = "manifest.json", "artifacts"


class FileFact(Config):
    """What a file of a backup must be."""

    sha256: str
    bytes: int


class BackupManifest(Config):
    """The last file of a backup, and the first thing a restore reads."""

    format: int
    kind: Kind
    engine: Engine
    made: str
    """UTC, ISO 8601"""
    mlflow: str
    """its version"""
    home: str = ""
    """the embedded store's home: its rows name artifacts by their full paths"""
    files: dict[str, FileFact]


class BackupFacts(Config):
    """How much there was."""

    files: int
    """artifacts"""
    bytes: int
    """of the backup's file"""


def backup(places: Places, file: Path) -> BackupFacts:
    """Write the registry at `places` into `file`, which appears when it is whole.

    Raises:
        RegistryError: there is no registry, its database does not answer, or the file exists.
        StorageError: the file cannot be written, or the artifacts not read.
        MissingDependencyError: a Postgres, and its program pg_dump is not on PATH.
    """
    if places.home is not None and not (places.home / "mlflow.db").exists():
        raise RegistryError(f"there is no registry under {places.home}; set SPLATSWEEP_HOME, or say --home")
    if file.exists():
        raise RegistryError(f"{file} exists; choose another name")
    with tempfile.TemporaryDirectory(prefix="splatsweep-") as scratch, _whole(file) as tar:
        facts = dict[str, FileFact]()
        for part, address in places.parts.items():
            saved = Path(scratch) / part
            save(address, saved)
            facts[part] = _add(tar, part, saved)
        for path, artifact in artifact_files(places.artifacts, Path(scratch)):
            name = f"{ARTIFACTS}/{path}"
            facts[name] = _add(tar, name, artifact)
        manifest = BackupManifest(
            format=FORMAT,
            kind="service" if places.home is None else "embedded",
            engine=engine_of(places.database),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            mlflow=str(import_mlflow().__version__),
            home=str(places.home or ""),
            files=facts,
        )
        (Path(scratch) / MANIFEST).write_text(manifest.to_json())
        _add(tar, MANIFEST, Path(scratch) / MANIFEST)
    return BackupFacts(files=len(facts) - len(places.parts), bytes=file.stat().st_size)


def _add(tar: tarfile.TarFile, name: str, file: Path) -> FileFact:
    """Put a file into the tar; what a restore will check."""
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = 0o600, int(time.time())
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        member.size = stream.tell()
        stream.seek(0)
        tar.addfile(member, stream)
    return FileFact(sha256=digest, bytes=member.size)


@contextmanager
def _whole(file: Path) -> Iterator[tarfile.TarFile]:
    """A tar written beside its place and named when it is complete."""
    beside = file.with_name(f".{file.name}.part")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield tar
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error}") from None
    finally:
        beside.unlink(missing_ok=True)
