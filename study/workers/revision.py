"""Which code a process runs: one digest of the project's source files, the same wherever they lie.

A study's workers must run its driver's code: with another they would train something else under the same name. On one
machine they always do; on a cluster a node may have an older checkout.
"""

import hashlib
import os
import socket
import subprocess
from functools import lru_cache
from pathlib import Path

from ssl_core.errors import StudyError
from ssl_core.own_packages import PACKAGES


@lru_cache(maxsize=1)
def code_digest() -> str:
    """First 16 hex digits over names and contents of all source files; read once per process."""
    return digest_of(Path(__file__).resolve().parents[2])


def digest_of(root: Path) -> str:
    """The digest of the packages under `root`."""
    total = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            content = path.read_bytes()
            total.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
            total.update(content)
    return total.hexdigest()[:16]


def require_revision(expected: str) -> None:
    """Refuse to work for a driver of another revision. Raises StudyError when this process's digest differs."""
    if (found := code_digest()) != expected:
        raise StudyError(
            f"the worker on {socket.gethostname()} runs other code than the driver (revision {found}, the driver has "
            f"{expected}); bring {Path(__file__).resolve().parents[2]} there to the driver's revision, or submit the "
            "study with its code (`make submit`)"
        )


def code_revision() -> str:
    """The checkout's git revision, with `+changes` when it is not clean; of a submitted tree, what `submit` says."""
    root = Path(__file__).resolve().parents[2]
    try:
        run = lambda *words: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        return run("rev-parse", "HEAD") + ("+changes" if run("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("SPLATSWEEP_REVISION", "")
