"""A registry in one file: its databases' own dumps, its artifacts, and a manifest with every file's digest.

A plain .tar, readable by its owner only (it holds the users' hashed passwords). The databases are saved first: whatever
they name was stored before them, so the artifacts that follow are complete even while the registry is in use.
"""

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.server.databases import Engine, engine_of, save
from registry.server.places import Kind, Places
from registry.tracking.connection import import_mlflow
from ssl_core.config import Config
from ssl_core.errors import MissingDependencyError, RegistryError, StorageError
from ssl_core.files.whole import atomic_write

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
    with tempfile.TemporaryDirectory(prefix="splatsweep-") as scratch, _private_tar(file) as tar:
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
def _private_tar(file: Path) -> Iterator[tarfile.TarFile]:
    with atomic_write(file) as stream:
        os.fchmod(stream.fileno(), 0o600)
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        stream.flush()
        os.fsync(stream.fileno())


def artifact_files(place: str, scratch: Path) -> Iterator[tuple[str, Path]]:
    """(path with /, local file) of every artifact, links left out. Raises StorageError.

    Args:
        place: a folder, or an address such as s3://bucket/prefix.
        scratch: where a bucket's files lie, each until the next is asked for.
    """
    if "://" not in place:
        for folder, folders, names in os.walk(place):
            folders.sort()
            for file in (Path(folder) / name for name in sorted(names)):
                if file.is_file() and not file.is_symlink():
                    yield file.relative_to(place).as_posix(), file
        return
    with _bucket_errors(place):
        store, folders = _store(place), [""]
        while folders:
            for item in store.list_artifacts(folders.pop() or None):
                if item.is_dir:
                    folders.append(item.path)
                    continue
                file = Path(store.download_artifacts(item.path, str(scratch)))
                yield item.path, file
                file.unlink()


@contextmanager
def artifacts_replaced(staged: Path, place: str) -> Iterator[None]:
    """Put the staged folder's files where artifacts lie; if the block fails, a folder gets its old ones back.

    In a bucket they replace those of the same name and leave the others: nothing asks for files that no run names.
    """
    if "://" in place:
        with _bucket_errors(place):
            _store(place).log_artifacts(str(staged))
        yield
        return
    here = Path(place)
    old = here.with_name(f".{here.name}.replaced")
    if old.exists() and not here.exists():  # a restore was killed here
        old.rename(here)
    shutil.rmtree(old, ignore_errors=True)
    if here.exists():
        here.rename(old)
    try:
        shutil.move(staged, here)
        yield
    except BaseException:
        shutil.rmtree(here, ignore_errors=True)
        if old.exists():
            old.rename(here)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _store(place: str) -> Any:
    """MLflow's own access to a bucket, as its server uses it."""
    import_mlflow()
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(place.rstrip("/"))


@contextmanager
def _bucket_errors(place: str) -> Iterator[None]:
    try:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise MissingDependencyError("artifacts at s3:// need the library boto3; install splatsweep[server]") from None
    from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, MlflowException) as error:
        reason = str(error).splitlines()[0][:300]
        raise StorageError(f"{place}: {reason}; check AWS_ENDPOINT_URL and the keys") from None
