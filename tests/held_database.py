"""Another program that holds a SQLite file, as a backup or an editor does; and one that may not write it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held(file: Path) -> Iterator[Callable[[], None]]:
    """The file is held until the block ends, or what it is given is called."""
    words = [sys.executable, "-c", _HOLDER, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            yield holder.kill
        finally:
            holder.kill()


def unprivileged() -> list[str]:
    """What a command begins with, so that permissions count for it: root without its capabilities may what bits say."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everything, and there is no setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
