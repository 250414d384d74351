"""A registry put back from a backup's file: all of it checked first, then in place at once."""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from registry.server.artifacts import artifact_files, artifacts_replaced
from registry.server.backup import ARTIFACTS, FORMAT, MANIFEST, BackupManifest
from registry.server.databases import (
    check_saved,
    engine_of,
    is_empty,
    move_paths,
    replaced,
    set_password,
    sqlite_file,
    upgrade,
)
from registry.server.places import Places
from registry.server.secret_file import ADMINISTRATOR
from ssl_core.config import Config, parse_json, validated
from ssl_core.errors import ConfigError, IntegrityError, RegistryError, StorageError

_LONGEST = 64 * 2**20
"""bytes of a manifest; more is no manifest"""
_ROWS = 1
"""the format of revision 3e03538: a text file per table"""


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
        if not force:
            _refuse_full(places)
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
            move_paths(places.database, f"{Path(manifest.home)}/mlartifacts", places.artifacts)
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


def _refuse_full(places: Places) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        kept = next(artifact_files(places.artifacts, Path(scratch)), None)
    if kept is not None or not is_empty(places.database):
        raise RegistryError("the registry is not empty; back it up, then say --force to replace all of it")


# reading the file


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
    members = tar.getmembers()
    values = next((_values(file, tar, member) for member in members if member.name == MANIFEST), None)
    there = list[tuple[str, int]]()
    for member in members:
        # one with holes is larger than all the bytes of the file
        if not member.isreg() or member.issparse() or name_problem(member.name):
            raise IntegrityError(f"{file} holds {member.name!r}, which no backup holds; do not use it")
        there.append((member.name, member.size))
    if values is None:
        raise IntegrityError(f"{file} has no {MANIFEST}: it is not a backup, or not whole")
    try:
        manifest = validated(BackupManifest, values)
    except ConfigError:
        raise _damaged(file) from None
    said = [(name, fact.bytes) for name, fact in manifest.files.items()]
    if sorted(said) != sorted(found for found in there if found[0] != MANIFEST):
        raise IntegrityError(f"{file} does not hold what its {MANIFEST} says; take another copy of it")
    return manifest


def _values(file: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    """The manifest's keys and values, if they are of the format that is read here."""
    if not member.isreg() or member.issparse():
        raise _damaged(file)
    stream = tar.extractfile(member)
    assert stream is not None, "it is a regular file"
    try:
        values = parse_json(stream.read(_LONGEST).decode())
    except ValueError:
        raise _damaged(file) from None
    match values:
        case {"format": int(format)} if format == FORMAT:
            return dict(values)
        case {"format": int(format)} if format == _ROWS:
            raise RegistryError(f"{file} has format 1; restore it with revision 3e03538, then back up with this one")

        case {"format": int(format)}:
            raise RegistryError(f"{file} has format {format}, and this program reads {FORMAT}; use a newer one")
    raise _damaged(file)


def _damaged(file: Path) -> IntegrityError:
    return IntegrityError(f"{MANIFEST} of {file} is damaged; take another copy of the backup")


def name_problem(name: str) -> str | None:
    """Why a name cannot be of a backup: it leaves the folder it is written to, or has no place there."""
    if name in (MANIFEST, "database", "users"):
        return None
    path = PurePosixPath(name)
    if path.is_absolute() or str(path) != name or ".." in path.parts or "\0" in name:
        return "it leaves its folder"
    return None if path.parts[0] == ARTIFACTS and len(path.parts) > 1 else "it is in no folder of a backup"


def _extract(file: Path, tar: tarfile.TarFile, manifest: BackupManifest, folder: Path) -> None:
    """Write the files below `folder`; digests are compared on the way."""
    wanted = sum(fact.bytes for fact in manifest.files.values())
    if shutil.disk_usage(folder).free < wanted:
        raise StorageError(f"restoring {file} needs {wanted / 1e9:.1f} GB beside the registry; free some space")
    for name, fact in manifest.files.items():
        stream, target, digest = tar.extractfile(name), folder / name, hashlib.sha256()
        assert stream is not None, "only regular files got here"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while data := stream.read(2**20):
                digest.update(data)
                out.write(data)
        if digest.hexdigest() != fact.sha256:
            raise IntegrityError(f"{name} in {file} is not what was backed up; take another copy of the backup")
