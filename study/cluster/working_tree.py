"""What travels with a job: the working tree as git sees it, and the lock that nodes are compared with."""

import hashlib
import importlib.metadata
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ssl_core.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 64 * 10**6
"""Bytes. Ray takes 100 MB through its control process, and source code needs none of it."""
LOCK = "requirements.lock"
CHECKED = "SPLATSWEEP_SUBMITTED_ENVIRONMENT"
"""Set to `lock` when Ray built the environment from the lock itself."""


@dataclass(frozen=True)
class SentTree:
    """A copy of the working tree."""

    folder: Path  # where it lies
    # files and bytes: how much it is
    files: int
    bytes: int
    digest: str  # of names and contents


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Files that git tracks or would add, relative to `root`, sorted: no runs, environments, data or secrets.

    Raises:
        StudyError: `root` is no git checkout.
    """
    words = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(words, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise StudyError(
            f"{root} is not a git checkout of the project ({error}); submit from one: git says which files belong to it"
        ) from None
    names = {Path(name.decode()) for name in listed.split(b"\0") if name}
    return sorted(name for name in names if (root / name).is_file())


def sent_tree(folder: Path, root: Path = ROOT, limit: int = LIMIT) -> SentTree:
    """Copy the working tree to `folder`, which must not exist.

    Raises:
        StudyError: no checkout, or more than `limit` bytes; the largest files are named.
    """
    names = tracked_files(root)
    sizes = {name: (root / name).stat().st_size for name in names}
    total = sum(sizes.values())
    if total > limit:
        largest = sorted(names, key=lambda name: -sizes[name])[:3]
        listed = ", ".join(f"{name} ({sizes[name] / 1e6:.1f} MB)" for name in largest)
        raise StudyError(
            f"the working tree holds {total / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB that are sent with a "
            f"job; the largest: {listed}; keep data out of the checkout or name it in .gitignore"
        )
    hashed = hashlib.sha256()
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target)
        hashed.update(f"{name}\0".encode() + hashlib.sha256(target.read_bytes()).digest())
    return SentTree(folder, len(names), total, hashed.hexdigest()[:16])


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
