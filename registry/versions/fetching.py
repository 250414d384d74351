"""Fetching a registered encoder: checked first, then in place all at once.

The bytes are compared with `checksums.json`, and that file with the digest recorded on the version when it
was registered; so are the files by which MLflow serves it. The program is looked into: a file that would make torch
unpickle something is refused. Only then does the folder get its name: what stands there is whole.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from registry.versions.mlmodel import EXAMPLE
from registry.versions.records import EncoderVersion
from registry.versions.store import BUNDLE_FILES, CARD_FILE, EncoderStore, bundle_digest
from registry.versions.upload import OPTIONAL_FILES
from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.models.bundle import check_files, verify_checksums
from ssl_core.models.weights_file import file_sha256

EXTRA_FILES = (CARD_FILE, "MLmodel", EXAMPLE)
"""Fetched where they are there: a card is written anew by every evaluation."""


def pull(store: EncoderStore, reference: str, to: Path) -> Path:
    """Put the encoder `NAME@ALIAS` or `NAME/VERSION` into the folder `to`, and return it.

    A folder that already holds this encoder is left as it is.

    Raises:
        RegistryError: no such encoder (the message says which there are), or `to` holds something else.
        IntegrityError: the bytes do not match their checksums; nothing is left behind.
        RegistryError: a file is, or holds, a pickle, or the program's shapes are not the contract's.
        StorageError: the disk is full or not writable.
    """
    version = store.resolve(reference)
    to = Path(os.path.abspath(to))  # noqa: PTH100 - Path.resolve would follow a link in place of the folder
    if to.is_symlink() or to.is_file():
        raise RegistryError(f"{to} is not a folder; choose another --to")
    if to.is_dir() and any(to.iterdir()):
        return _already_there(version, to)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as scratch:
            bundle = fetch(store, version, Path(scratch))
            bundle.replace(to)
    except OSError as error:
        raise StorageError(f"cannot write {version.reference} to {to}: {error}") from None
    return to


def fetch(store: EncoderStore, version: EncoderVersion, scratch: Path) -> Path:
    """Download into a folder under `scratch` and verify. Raises as `pull`."""
    version.check_known()
    raw = scratch / "raw"
    raw.mkdir()
    source = store.download(version, raw)
    bundle = scratch / "bundle"
    bundle.mkdir()
    serving = store.serving_digests(version)
    # by name: whatever else a server sends stays outside
    _copy(source, bundle, (*BUNDLE_FILES, *OPTIONAL_FILES, *EXTRA_FILES, *serving))
    missing = [name for name in (*BUNDLE_FILES, *serving) if not (bundle / name).is_file()]
    if missing:
        raise IntegrityError(f"{version.reference} lacks {missing[0]}; register the encoder again")
    if version.checksums and file_sha256(bundle / "checksums.json") != version.checksums:
        raise IntegrityError(
            f"checksums.json of {version.reference} is not the one that was registered; "
            "do not use this encoder, register it again"
        )
    for name, digest in serving.items():
        if file_sha256(bundle / name) != digest:
            raise IntegrityError(f"{version.reference}: {name} is not the one that was registered; do not serve it")
    check_files(bundle, BUNDLE_FILES)
    return bundle


def _copy(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy those of the files that are there and are files."""
    for name in names:
        file, parents = source / name, (source / name).relative_to(source).parents
        if file.is_file() and not file.is_symlink() and not any((source / parent).is_symlink() for parent in parents):
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target / name)


def _already_there(version: EncoderVersion, to: Path) -> Path:
    try:
        verify_checksums(to)
        same = bundle_digest(to) == version.bundle_digest
    except (RegistryError, OSError):
        same = False
    if not same:
        raise RegistryError(
            f"{to} already holds something other than {version.reference}; remove it or choose another --to"
        )
    return to
