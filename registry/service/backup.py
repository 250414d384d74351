"""A registry in one file: rows of its databases, its artifacts, and a manifest with every file's digest.

A plain .tar, readable by its owner only (it holds the users' hashed passwords). The rows are taken first: whatever they
name was stored before them, so the artifacts that follow are complete even while the registry is in use.
"""

import hashlib
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO

from registry.connection import import_mlflow
from registry.service.artifact_files import list_files, read_file
from registry.service.places import Kind, Places
from registry.service.rows import dump_rows
from ssl_core.config import Config
from ssl_core.errors import RegistryError, StorageError

FORMAT = 1
MANIFEST, DATABASE, USERS, ARTIFACTS = "manifest.json", "database", "users", "artifacts"


class FileFact(Config):
    """What a file of a backup must be."""

    sha256: str
    bytes: int


class Manifest(Config):
    """The first thing a restore reads."""

    format: int
    kind: Kind
    made: str
    """UTC, ISO 8601"""
    mlflow: str
    """its version"""
    home: str = ""
    """the embedded store's home: its rows name artifacts by their full paths"""
    rows: int
    files: dict[str, FileFact]


class BackupFacts(Config):
    """How much there was."""

    rows: int
    files: int
    """artifacts"""
    bytes: int
    """of the backup's file"""


def backup(places: Places, file: Path) -> BackupFacts:
    """Write the registry at `places` into `file`, which appears when it is whole.

    Raises:
        RegistryError: there is no registry, its database does not answer, or the file exists.
        StorageError: the file cannot be written, or the artifacts not read.
    """
    if places.home is not None and not (places.home / "mlflow.db").exists():
        raise RegistryError(f"there is no registry under {places.home}; set SPLATSWEEP_HOME, or say --home")
    if file.exists():
        raise RegistryError(f"{file} exists; choose another name")
    with tempfile.TemporaryDirectory(prefix="splatsweep-") as scratch, _whole(file) as tar:
        writer, rows, count = _Writer(tar), 0, 0
        for part, address in ((DATABASE, places.database), (USERS, places.users)):
            if address is None:
                continue
            folder = Path(scratch) / part
            folder.mkdir()
            counts = dump_rows(address, folder)
            rows += sum(count for table, count in counts.items() if not table.startswith("alembic_version"))
            for table in sorted(folder.iterdir()):
                with table.open("rb") as stream:
                    writer.add(f"{part}/{table.name}", stream, table.stat().st_size)
        for path, size in list_files(places.artifacts):
            with read_file(places.artifacts, path) as stream:
                writer.add(f"{ARTIFACTS}/{path}", stream, size)
            count += 1
        manifest = Manifest(
            format=FORMAT,
            kind="service" if places.home is None else "embedded",
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            mlflow=str(import_mlflow().__version__),
            home=str(places.home or ""),
            rows=rows,
            files=writer.facts,
        )
        text = manifest.to_json().encode()
        writer.add(MANIFEST, BytesIO(text), len(text))
    return BackupFacts(rows=rows, files=count, bytes=file.stat().st_size)


class _Writer:
    """A tar that remembers what went into it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar, self.facts = tar, dict[str, FileFact]()

    def add(self, name: str, stream: IO[bytes], size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, int(time.time())
        reader = _Hashed(stream)
        self._tar.addfile(member, reader)
        self.facts[name] = FileFact(sha256=reader.digest.hexdigest(), bytes=size)


class _Hashed:
    """A stream that is hashed while it is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


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
