"""Encoders into folders, from the registry or from a folder pulled earlier: checked first, then in place all at once.

The bytes are compared with `checksums.json`, and that file with the digest recorded on the version when it was
registered; so are the files by which MLflow serves it. A program that would make torch unpickle something is refused.
Only then does the folder get its name. Without the registry, a pulled folder's bytes are compared with its
`checksums.json`, and no file may be a pickle.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.versions.records import EncoderVersion
from registry.versions.store import EncoderStore, bundle_digest
from registry.versions.upload import BUNDLE_FILES, CARD_FILE, EXAMPLE, OPTIONAL_FILES, listed_files
from ssl_core.errors import IntegrityError, RegistryError, StorageError
from ssl_core.models.bundle import CARD, check_files, read_card, verify_checksums
from ssl_core.models.weights_file import file_sha256

EXTRA_FILES = (CARD_FILE, "MLmodel", EXAMPLE)
"""Fetched where they are there: a card is written anew by every evaluation."""


def pull(store: EncoderStore, reference: str, to: Path) -> Path:
    """Put the encoder `NAME@ALIAS` or `NAME/VERSION` into the folder `to`, and return it.

    A folder that already holds this encoder is left as it is.

    Raises:
        RegistryError: no such encoder (the message says which there are), `to` holds something else, a file is or holds
        a pickle, or the program's shapes are not the contract's.
        IntegrityError: the bytes do not match their checksums; nothing is left behind.
        StorageError: the disk is full or not writable.
    """
    version, to = store.resolve(reference), _target(to)
    if to.is_dir() and any(to.iterdir()):
        return _already_there(version, to)
    with _filled(to, version.reference) as scratch:
        fetch(store, version, scratch)
    return to


def fetch(store: EncoderStore, version: EncoderVersion, scratch: Path) -> Path:
    """Download into the folder `scratch/bundle` and verify. Raises as `pull`."""
    version.check_known()
    raw, bundle = scratch / "raw", scratch / "bundle"
    raw.mkdir()
    bundle.mkdir()
    source = store.download(version.name, version.version, raw)
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


def list_bundles(folder: Path) -> dict[str, Path]:
    """Encoders in `folder`: itself, or the folders directly below it, by folder name. Nothing is verified.

    Raises:
        RegistryError: there is no such folder, or no encoder in it.
    """
    if not folder.is_dir():
        raise RegistryError(
            f"{folder}: no such folder, and no reference; write NAME@ALIAS, NAME/VERSION or a folder that "
            "`splatsweep pull` made"
        )
    if (folder / CARD).is_file():
        return {folder.absolute().name: folder}
    found = {entry.name: entry for entry in sorted(folder.iterdir()) if (entry / CARD).is_file()}
    if not found:
        raise RegistryError(f"{folder}: holds no encoder (no {CARD}, nor in a folder below it); pull one there first")
    return found


def choose_bundle(folder: Path, name: str | None = None) -> Path:
    """The verified folder of one encoder in `folder`.

    Args:
        name: of its folder, or the name it was registered under; not needed where there is one only.

    Raises:
        RegistryError: none or several of that name (the message says which there are), or a pickle.
        IntegrityError: a file is missing, was changed, or is a link.
        StorageError: it may not be read.
    """
    try:
        found = list_bundles(folder)
        named = {key: path for key, path in found.items() if name is None or name in (key, read_card(path).name)}
        if name in named:  # a folder's own name is the stronger claim
            named = {name: named[name]}
        if len(named) != 1:
            what = f"{len(named)} encoders" if named else "no encoder"
            called = f" called {name!r}" if name is not None else ""
            known = ", ".join(f"{key} ({read_card(path).name})" for key, path in found.items())
            raise RegistryError(f"{folder}: holds {what}{called}; choose by name one of {known}")
        (chosen,) = named.values()
        # the model card is in no list of checksums, and goes along when the encoder is copied
        check_files(chosen, (*BUNDLE_FILES, *OPTIONAL_FILES, CARD_FILE))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error}); make it readable") from None
    return chosen


def pull_offline(folder: Path, to: Path, name: str | None = None) -> Path:
    """Copy one encoder of `folder` to the new or empty folder `to`, verified on both sides; returns `to`.

    Raises:
        RegistryError, IntegrityError: as `choose_bundle`; or `to` holds something.
        StorageError: it cannot be written.
    """
    chosen, to = choose_bundle(folder, name), _target(to)
    if to.is_dir() and any(to.iterdir()):
        raise RegistryError(f"{to} is not an empty folder; remove it or choose another --to")
    with _filled(to, str(chosen)) as scratch:
        copy = scratch / "bundle"
        copy.mkdir()
        _copy(chosen, copy, (*BUNDLE_FILES, *listed_files(chosen), CARD_FILE))
        verify_checksums(copy)
    return to


def _target(to: Path) -> Path:
    to = Path(os.path.abspath(to))  # noqa: PTH100 - Path.resolve would follow a link in place of the folder
    if to.is_symlink() or to.is_file():
        raise RegistryError(f"{to} is not a folder; choose another --to")
    return to


@contextmanager
def _filled(to: Path, what: str) -> Iterator[Path]:
    """A folder beside `to`; what the block writes into its folder `bundle` becomes `to` at once."""
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as scratch:
            yield Path(scratch)
            (Path(scratch) / "bundle").replace(to)
    except OSError as error:
        raise StorageError(f"cannot write {what} to {to}: {error}; choose another --to") from None


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
