"""Encoders in plain folders: pulled earlier, carried over by hand, no registry asked.

A folder holds one encoder, or several, each in a folder below it. What can be checked without the registry is checked:
every byte against `checksums.json`, and that no file is a pickle.
"""

import os
import shutil
import tempfile
from pathlib import Path

from registry.versions.upload import BUNDLE_FILES, CARD_FILE, listed_files
from ssl_core.errors import RegistryError, StorageError
from ssl_core.models.bundle import CARD, check_files, read_card, verify_checksums


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
        return _checked(_chosen(folder, name))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error}); make it readable") from None


def _chosen(folder: Path, name: str | None) -> Path:
    found = list_bundles(folder)
    named = {key: path for key, path in found.items() if name is None or name in (key, read_card(path).name)}
    if name in named:  # a folder's own name is the stronger claim
        named = {key: path for key, path in named.items() if key == name}
    if len(named) != 1:
        what = f"{len(named)} encoders" if named else "no encoder"
        called = f" called {name!r}" if name is not None else ""
        known = ", ".join(f"{key} ({read_card(path).name})" for key, path in found.items())
        raise RegistryError(f"{folder}: holds {what}{called}; choose by name one of {known}")
    (chosen,) = named.values()
    return chosen


def _checked(chosen: Path) -> Path:
    # the model card is in no list of checksums, and goes along when the encoder is copied
    check_files(chosen, (*BUNDLE_FILES, *_listed(chosen), CARD_FILE))
    return chosen


def pull_offline(folder: Path, to: Path, name: str | None = None) -> Path:
    """Copy one encoder of `folder` to the new or empty folder `to`, verified on both sides; returns `to`.

    Raises:
        RegistryError, IntegrityError: as `choose_bundle`; or `to` holds something.
        StorageError: it cannot be written.
    """
    chosen = choose_bundle(folder, name)
    to = Path(os.path.abspath(to))  # noqa: PTH100 - Path.resolve would follow a link in place of the folder
    if to.is_symlink() or to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise RegistryError(f"{to} is not an empty folder; remove it or choose another --to")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as scratch:
            copy = Path(scratch) / "bundle"
            copy.mkdir()
            for file in (*BUNDLE_FILES, *_listed(chosen), CARD_FILE):
                if (chosen / file).is_file():
                    shutil.copyfile(chosen / file, copy / file)
            verify_checksums(copy)
            copy.replace(to)
    except OSError as error:
        raise StorageError(f"cannot write {chosen} to {to}: {error}; choose another --to") from None
    return to


def _listed(bundle: Path) -> tuple[str, ...]:
    """Optional files of a bundle; a list that cannot be read is `verify_checksums`'s to refuse."""
    try:
        return listed_files(bundle)
    except (OSError, ValueError, TypeError):
        return ()
