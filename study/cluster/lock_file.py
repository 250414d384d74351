"""What requirements.lock asks for, and whether this environment has it."""

import importlib.metadata
import re
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ssl_core.errors import StudyError

LOCK = "requirements.lock"
CHECKED = "SPLATSWEEP_SUBMITTED_ENVIRONMENT"
"""Set to `lock` when Ray built the environment from the lock itself."""


def requirement_lines(text: str) -> list[str]:
    """One line per requirement, its hashes with it."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip() and not line.startswith(("#", "-"))]


def locked_versions(text: str) -> dict[str, str]:
    """Versions by name of what belongs to this platform and Python.

    Raises:
        StudyError: a line is not `name==version` with optional marker and hashes.
    """
    found: dict[str, str] = {}
    for line in requirement_lines(text):
        try:
            needed = Requirement(line.split(" --hash", 1)[0])
        except InvalidRequirement as error:
            raise StudyError(f"{LOCK}: {line[:80]!r} is not a requirement ({error}); run `make lock`") from None
        versions = [part.version for part in needed.specifier if part.operator == "=="]
        if needed.marker is None or needed.marker.evaluate():
            found[needed.name] = versions[0] if versions else ""
    return found


def differences(lock: Path) -> list[str]:
    """How this environment differs from the lock, as `name 1.2, locked 1.3`.

    Build tags (`+cpu`) do not count, nor do libraries that are absent: tools of development may be left out of an
    image, and a library that is needed says so when it is imported.

    Raises:
        StudyError: the lock cannot be read.
    """
    try:
        text = lock.read_text()
    except OSError as error:
        raise StudyError(f"{lock}: {error.strerror}; a job carries the lock it was submitted with") from None
    found = []
    for name, wanted in locked_versions(text).items():
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if there.partition("+")[0] != wanted.partition("+")[0]:
            found.append(f"{name} {there}, locked {wanted}")
    return found
