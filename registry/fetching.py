"""Fetching a registered encoder: checked first, then in place all at once.

The bytes are compared with `checksums.json`, and that file with the digest recorded on the version when it
was registered. Only then does the folder get its name: what stands there is whole.
"""

import os
import shutil
import tempfile
from pathlib import Path

from registry.mlmodel import EXAMPLE
from registry.records import EncoderVersion
from registry.store import BUNDLE_FILES, CARD_FILE, EncoderStore, bundle_digest, file_digest
from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.models.bundle import verify_checksums

EXTRA_FILES = (CARD_FILE, "MLmodel", EXAMPLE)


def pull(store: EncoderStore, reference: str, to: Path) -> Path:
    """Put the encoder `NAME@ALIAS` or `NAME/VERSION` into the folder `to`, and return it.

    A folder that already holds this encoder is left as it is.

    Raises:
        RegistryError: no such encoder (the message says which there are), or `to` holds something else.
        IntegrityError: the bytes do not match their checksums; nothing is left behind.
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
    raw = scratch / "raw"
    raw.mkdir()
    source = store.download(version, raw)
    bundle = scratch / "bundle"
    bundle.mkdir()
    for name in (*BUNDLE_FILES, *EXTRA_FILES):  # by name: whatever else a server sends stays outside
        file = source / name
        if file.is_file() and not file.is_symlink():
            shutil.copyfile(file, bundle / name)
        elif name in BUNDLE_FILES:
            raise IntegrityError(f"{version.reference} lacks {name}; register the encoder again")
    if version.checksums and file_digest(bundle / "checksums.json") != version.checksums:
        raise IntegrityError(
            f"checksums.json of {version.reference} is not the one that was registered; "
            "do not use this encoder, register it again"
        )
    verify_checksums(bundle)
    return bundle


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
