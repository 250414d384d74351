"""A registry put back from a backup's file: all of it checked first, then in place at once."""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from registry.server.backup import (
    ARTIFACTS,
    FORMAT,
    MANIFEST,
    BackupManifest,
    artifact_files,
    artifacts_replaced,
)
from registry.server.databases import (
    check_saved,
    engine_of,
    is_empty,
    move_artifacts,
    replaced,
    set_password,
    sqlite_file,
    upgrade,
)
from registry.server.places import Places
from registry.server.secret_file import ADMINISTRATOR
from registry.tracking.embedded_store import ARTIFACTS as EMBEDDED_ARTIFACTS
from ssl_core.config import Config, parse_json, validated
from ssl_core.errors import ConfigError, IntegrityError, RegistryError, StorageError


class RestoreFacts(Config):
    """What was put back."""

    made: str
    """when the backup was made"""
    files: int
    """artifacts"""


def manifest_of(file: Path) -> BackupManifest:
    """What a backup is of. Raises as `restore`."""
    with _opened(file) as tar:
        return _manifest(file, tar)


def restore(places: Places, file: Path, *, force: bool = False) -> RestoreFacts:
    """Put what `registry.server.backup.backup` wrote back; nobody may use the registry meanwhile.

    The administrator keeps the password of this place; other users get back those of the backup.

    Raises:
        RegistryError: no such backup, one of another kind, or (without `force`) the registry is not empty.
        IntegrityError: a byte of the file is not what its manifest says; nothing was changed.
        StorageError: the disk is full, or the artifacts cannot be written.
    """
    with _opened(file) as tar:
        manifest = _manifest(file, tar)
        _check_fits(places, file, manifest)
        if not force and not _is_empty(places):
            raise RegistryError("the registry is not empty; back it up, then say --force to replace all of it")
        beside = _folder_of(places)
        if beside is not None:
            beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restoring.", dir=beside) as scratch:
            _extract(file, tar, manifest, Path(scratch))
            _replace(places, manifest, Path(scratch))
    return RestoreFacts(made=manifest.made, files=len(manifest.files) - len(places.parts))


def _replace(places: Places, manifest: BackupManifest, staged: Path) -> None:
    for part in places.parts:
        check_saved(manifest.engine, staged / part)
    (staged / ARTIFACTS).mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(artifacts_replaced(staged / ARTIFACTS, places.artifacts))
        for part, address in places.parts.items():
            stack.enter_context(replaced(address, staged / part))
            upgrade(address, part)
        if places.home is not None and Path(manifest.home) != places.home:
            move_artifacts(places.database, Path(manifest.home) / EMBEDDED_ARTIFACTS, Path(places.artifacts))
        if places.users is not None and places.administrator is not None:
            set_password(places.users, ADMINISTRATOR, places.administrator)


def _folder_of(places: Places) -> Path | None:
    """A folder on the disk to which the backup's files move; None where all of them go over a network."""
    if engine_of(places.database) == "sqlite":
        return sqlite_file(places.database).parent
    return None if "://" in places.artifacts else Path(places.artifacts).parent


def _check_fits(places: Places, file: Path, manifest: BackupManifest) -> None:
    if (manifest.kind == "embedded") != (places.home is not None):
        raise RegistryError(f"{file} is of the other kind of registry ({manifest.kind}); it cannot go here")
    if manifest.engine != engine_of(places.database):
        raise RegistryError(
            f"{file} is of a registry on {manifest.engine}, and this one is on {engine_of(places.database)}; "
            "restore it under a --home that has no service"
        )
    if set(places.parts) - set(manifest.files):
        raise IntegrityError(f"{file} lacks a database that its kind of registry has; do not use it")


def _is_empty(places: Places) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        return next(artifact_files(places.artifacts, Path(scratch)), None) is None and is_empty(places.database)


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r:") as tar:
            yield tar
    except FileNotFoundError:
        raise RegistryError(f"there is no {file}") from None
    except (tarfile.TarError, EOFError):
        raise IntegrityError(f"{file} is not a whole backup; take another copy of it") from None
    except OSError as error:
        raise StorageError(f"restoring {file}: {error}") from None


def _manifest(file: Path, tar: tarfile.TarFile) -> BackupManifest:
    """The manifest, after every name in the file was looked at."""
    damaged = IntegrityError(f"{MANIFEST} of {file} is damaged; take another copy of the backup")
    try:
        stream = tar.extractfile(MANIFEST)
        values: Any = parse_json(stream.read().decode()) if stream is not None else None
    except KeyError:
        raise IntegrityError(f"{file} has no {MANIFEST}: it is not a backup, or not whole") from None
    except ValueError:
        raise damaged from None
    match values:
        case {"format": int(found)} if found == FORMAT:
            pass
        case {"format": 1}:
            raise RegistryError(f"{file} has format 1; restore it with revision 3e03538, then back up with this one")
        case {"format": int(found)}:
            raise RegistryError(f"{file} has format {found}, and this program reads {FORMAT}; use a newer one")
        case _:
            raise damaged
    members = tar.getmembers()
    for member in members:
        if not member.isreg() or not is_member(member.name):
            raise IntegrityError(f"{file} holds {member.name!r}, which no backup holds; do not use it")
    try:
        manifest = validated(BackupManifest, values)
    except ConfigError:
        raise damaged from None
    said = [(name, fact.bytes) for name, fact in manifest.files.items()]
    if sorted(said) != sorted((member.name, member.size) for member in members if member.name != MANIFEST):
        raise IntegrityError(f"{file} does not hold what its {MANIFEST} says; take another copy of it")
    return manifest


def is_member(name: str) -> bool:
    """Whether a backup may hold a file of this name: its manifest, a database, or a path below its artifacts."""
    path = PurePosixPath(name)
    plain = str(path) == name and ".." not in path.parts and "\0" not in name
    return name in (MANIFEST, "database", "users") or (plain and len(path.parts) > 1 and path.parts[0] == ARTIFACTS)


def _extract(file: Path, tar: tarfile.TarFile, manifest: BackupManifest, folder: Path) -> None:
    """Write the files below `folder` and compare their digests."""
    wanted = sum(fact.bytes for fact in manifest.files.values())
    if shutil.disk_usage(folder).free < wanted:
        raise StorageError(f"restoring {file} needs {wanted / 1e9:.1f} GB beside the registry; free some space")
    for name, fact in manifest.files.items():
        stream, target = tar.extractfile(name), folder / name
        assert stream is not None, "only regular files got here"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x+b") as out:
            shutil.copyfileobj(stream, out)
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
        if digest != fact.sha256:
            raise IntegrityError(f"{name} in {file} is not what was backed up; take another copy of the backup")
