"""Drivers in processes of their own, to be interrupted and killed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_sessions import trained

HERE = Path(__file__).parent


def environment(address: str | None, cache: Path | None = None) -> dict[str, str]:
    """Of a driver: joining the Ray at `address`, or starting its own."""
    given = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    given["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    if cache is not None:
        # compiled modules, as an installed program has them, wherever this checkout may not be written
        given.pop("PYTHONDONTWRITEBYTECODE", None)
        given.setdefault("PYTHONPYCACHEPREFIX", str(cache))
    return {**given, "RAY_ADDRESS": address} if address else given


@contextmanager
def study_process(
    program: str, *arguments: object, address: str | None = None, cache: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run a program of this folder; what is left of it at the end of the block is killed."""
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    process = subprocess.Popen(
        command,
        env=environment(address, cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def wait_until_trained(folder: Path, epochs: int, process: "subprocess.Popen[str]", limit: float = 200) -> bool:
    """Wait until that many epochs were trained, over all processes; False when the program ended before."""
    deadline = time.monotonic() + limit
    while len(trained(folder)) < epochs:
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"{len(trained(folder))} of {epochs} epochs after {limit:.0f} s"
        time.sleep(0.02)
    return True
