"""A registry put back from a backup's file: all of it checked first, then in place at once."""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from registry.service.artifact_files import in_place, list_files
from registry.service.backup import ARTIFACTS, DATABASE, FORMAT, MANIFEST, USERS, Manifest
from registry.service.places import Kind, Places
from registry.service.rows import Row, count_rows, load_rows, make_tables, make_user_tables, set_password
from registry.service.secret_file import ADMINISTRATOR
from ssl_core.config import Config
from ssl_core.errors import ConfigError, IntegrityError, RegistryError, StorageError

_LONGEST = 64 * 2**20
"""bytes of a manifest; more is no manifest"""
_PATHS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""columns in which the embedded store names its artifacts by their full paths"""


class RestoreFacts(Config):
    """What was put back."""

    made: str
    """when the backup was made"""
    rows: int
    files: int
    """artifacts"""


def kind_of(file: Path) -> Kind:
    """Whether a backup is of a service or of an embedded store. Raises RegistryError for anything else."""
    with _opened(file) as tar:
        return _manifest(file, tar).kind


def restore(places: Places, file: Path, *, force: bool = False) -> RestoreFacts:
    """Put what `registry.service.backup.backup` wrote back; nobody may use the registry meanwhile.

    The administrator keeps the password of this place; other users get back those of the backup.

    Raises:
        RegistryError: no such backup, one of another kind or version, or (without `force`) the registry is not empty.
        IntegrityError: a byte of the file is not what its manifest says; nothing was changed.
        StorageError: the disk is full, or the artifacts cannot be written.
    """
    with _opened(file) as tar:
        manifest = _manifest(file, tar)
        if (manifest.kind == "embedded") != (places.home is not None):
            raise RegistryError(f"{file} is of the other kind of registry ({manifest.kind}); it cannot go here")
        if not force:
            _refuse_full(places)
        beside = Path(places.artifacts).parent if not places.artifacts.startswith("s3://") else None
        if beside is not None:
            beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restoring.", dir=beside) as scratch:
            staged = Path(scratch)
            _extract(file, tar, manifest, staged)
            rows = _replace(places, manifest, staged)
    files = sum(1 for name in manifest.files if name.startswith(f"{ARTIFACTS}/"))
    return RestoreFacts(made=manifest.made, rows=rows, files=files)


def _replace(places: Places, manifest: Manifest, staged: Path) -> int:
    before, after = (f"{Path(home)}/mlartifacts" for home in (manifest.home, places.home or ""))

    def moved(table: str, row: Row) -> Row:
        if manifest.kind == "service" or before == after:
            return row
        changed = {name: _elsewhere(row.get(name), before, after) for name in _PATHS.get(table, ()) if name in row}
        return {**row, **changed}

    for part in (DATABASE, USERS, ARTIFACTS):
        (staged / part).mkdir(exist_ok=True)
    make_tables(places.database)
    if places.users is not None:
        make_user_tables(places.users)
    with in_place(staged / ARTIFACTS, places.artifacts):
        rows = load_rows(places.database, staged / DATABASE, moved)
        if places.users is not None:
            rows += load_rows(places.users, staged / USERS, moved)
            if places.administrator is not None:
                set_password(places.users, ADMINISTRATOR, places.administrator)
    return rows


def _elsewhere(value: object, before: str, after: str) -> object:
    """A path or file address under one folder, under another."""
    for scheme in ("file://", ""):
        if isinstance(value, str) and (value == scheme + before or value.startswith(f"{scheme}{before}/")):
            return scheme + after + value[len(scheme + before) :]
    return value


def _refuse_full(places: Places) -> None:
    if places.database.startswith("sqlite:///") and not Path(places.database.removeprefix("sqlite:///")).exists():
        return
    held = count_rows(places.database, ("runs", "registered_models"))
    if held or next(list_files(places.artifacts), None) is not None:
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


def _manifest(file: Path, tar: tarfile.TarFile) -> Manifest:
    """The manifest, after every name in the file was looked at."""
    there = list[tuple[str, int]]()
    for member in tar:
        # one with holes is larger than all the bytes of the file
        if not member.isreg() or member.issparse() or name_problem(member.name):
            raise IntegrityError(f"{file} holds {member.name!r}, which no backup holds; do not use it")
        there.append((member.name, member.size))
    if MANIFEST not in dict(there):
        raise IntegrityError(f"{file} has no {MANIFEST}: it is not a backup, or not whole")
    stream = tar.extractfile(MANIFEST)
    assert stream is not None, "it is a regular file"
    try:
        manifest = Manifest.from_json(stream.read(_LONGEST).decode())
    except (ConfigError, ValueError):
        raise IntegrityError(f"{MANIFEST} of {file} is damaged; take another copy of the backup") from None
    if manifest.format != FORMAT:
        raise RegistryError(f"{file} has format {manifest.format}, and this program reads {FORMAT}; use a newer one")
    said = [(name, fact.bytes) for name, fact in manifest.files.items()]
    if sorted(said) != sorted(found for found in there if found[0] != MANIFEST):
        raise IntegrityError(f"{file} does not hold what its {MANIFEST} says; take another copy of it")
    return manifest


def name_problem(name: str) -> str | None:
    """Why a name cannot be of a backup: it leaves the folder it is written to, or has no place there."""
    if name == MANIFEST:
        return None
    path = PurePosixPath(name)
    if path.is_absolute() or str(path) != name or ".." in path.parts or "\0" in name:
        return "it leaves its folder"
    if path.parts[0] in (DATABASE, USERS) and len(path.parts) == 2:
        return None if path.suffix == ".jsonl" and path.stem.isidentifier() else "it is no table"
    return None if path.parts[0] == ARTIFACTS and len(path.parts) > 1 else "it is in no folder of a backup"


def _extract(file: Path, tar: tarfile.TarFile, manifest: Manifest, folder: Path) -> None:
    """Write the files below `folder`; digests are compared on the way."""
    wanted = sum(fact.bytes for fact in manifest.files.values())
    if shutil.disk_usage(folder).free < wanted:
        raise StorageError(f"restoring {file} needs {wanted / 1e9:.1f} GB beside the artifacts; free some space")
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
