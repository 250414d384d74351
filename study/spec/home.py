"""Where embedded mode writes: one folder, `SPLATSWEEP_HOME` (default `runs/`)."""

import os
from pathlib import Path

from ssl_core.errors import ConfigError, StudyError

_LONGEST = 100
"""Bytes of a name; temporary folders beside a study's have longer ones, and file systems end at 255."""


def home() -> Path:
    """The folder, as an absolute path. It is made by whoever writes into it first.

    Raises ConfigError for a path that is no text: it stands in addresses and JSON.
    """
    named = os.environ.get("SPLATSWEEP_HOME") or "runs"
    try:
        found = Path(named).expanduser().absolute()  # a file .env writes ~, and no shell has replaced it
        str(found).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{named!a}: a home folder's path is UTF-8; set SPLATSWEEP_HOME to another") from None
    except RuntimeError:
        raise ConfigError(f"SPLATSWEEP_HOME={named}: this user has no home folder; name the whole path") from None
    return found


def packs() -> Path:
    """Packs made by `sweep`."""
    return home() / "packs"


def derived_root() -> Path:
    """Where stages of all studies lie: beside them, on the same storage."""
    return home() / "derived"


def study_folder(name: str) -> Path:
    """Folder of a study. Raises ConfigError for a name that could leave its parent."""
    return home() / "studies" / checked_name(name)


def latest_study() -> str:
    """The study that was written to last. Raises StudyError when there is none."""
    found = (home() / "studies").glob("*/journal.log")
    journals = sorted((file for file in found if file.is_file()), key=lambda file: file.stat().st_mtime)
    if not journals:
        raise StudyError(f"no study under {home() / 'studies'}; `make sweep` runs the first")
    return journals[-1].parent.name


def study_name(given: str | None, space: Path, place: str) -> str:
    """The study's name: as given, or made from space file and pack. Raises ConfigError."""
    if given:
        return checked_name(given)
    try:
        return checked_name(f"{space.stem}-{place}")
    except ConfigError as error:
        raise ConfigError(f"{error}; it is made from space file and pack: give another with --name") from None


def checked_name(name: str) -> str:
    """A name fit for a folder and a URL. Raises ConfigError."""
    known = name and all(c.isalnum() or c in "-_." for c in name) and name[0] not in "-."
    if not known or len(name.encode()) > _LONGEST:
        shown = repr(name) if len(name) <= _LONGEST else f"{name[:_LONGEST]!r}…"
        raise ConfigError(
            f"name {shown} is not usable; use letters, digits, '-', '_' and '.', not starting with '-' or '.', "
            f"at most {_LONGEST} bytes"
        )
    return name
