"""The project's working tree as a folder that can be sent: what git tracks or would track, and nothing else."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ssl_core.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 64 * 10**6
"""Bytes. Ray takes 100 MB through its control process, and source code needs none of it."""


@dataclass(frozen=True)
class SentTree:
    """A copy of the working tree.

    Attributes:
        folder: where it lies.
        files, bytes: how much it is.
        digest: of names and contents.
    """

    folder: Path
    files: int
    bytes: int
    digest: str


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
