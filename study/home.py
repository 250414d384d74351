"""Where embedded mode writes: one folder, `SPLATSWEEP_HOME` (default `runs/`)."""

import os
from pathlib import Path

from ssl_core.errors import ConfigError, StudyError


def home() -> Path:
    """The folder, as an absolute path. It is made by whoever writes into it first."""
    return Path(os.environ.get("SPLATSWEEP_HOME") or "runs").absolute()


def packs() -> Path:
    """Packs made by `journey`."""
    return home() / "packs"


def study_folder(name: str) -> Path:
    """Folder of a study. Raises ConfigError for a name that could leave its parent."""
    return home() / "studies" / checked_name(name)


def latest_study() -> str:
    """The study that was written to last. Raises StudyError when there is none."""
    journals = sorted((home() / "studies").glob("*/journal.log"), key=lambda file: file.stat().st_mtime)
    if not journals:
        raise StudyError(f"no study under {home() / 'studies'}; `make sweep` runs the first")
    return journals[-1].parent.name


def checked_name(name: str) -> str:
    """A name fit for a folder and a URL. Raises ConfigError."""
    if not name or len(name) > 100 or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise ConfigError(f"name {name!r} is not usable; use letters, digits, '-', '_' and '.', not starting with '.'")
    return name
