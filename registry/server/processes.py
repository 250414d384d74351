"""Programs of the service: started with their words in a file, ended with all they started, never left behind."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from ssl_core.errors import RegistryError

LOOPBACK = "127.0.0.1"
_START_SECONDS = 240.0
_PATIENCE = 10.0
"""seconds between asking a program to end and ending it"""


@contextmanager
def program(
    words: Sequence[str], env: Mapping[str, str], log: Path, *, stop: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs; its words go to `log`, readable by the user only.

    It gets a process group of its own, ended as a whole: servers start workers that would stay. Where the system can
    (setpriv), it also gets `stop` when this process dies without a word.
    """
    log.touch(mode=0o600)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*_dies_with_us(stop), *words], env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, umask=0o077,
        )  # fmt: skip
    try:
        yield process
    finally:
        _end(process, stop)


def answers(server: subprocess.Popen[bytes], address: str) -> bool:
    """Wait for MLflow's server to answer; False when it ended instead, or took minutes."""
    deadline = time.monotonic() + _START_SECONDS
    session = requests.Session()
    session.trust_env = False  # it is a child of ours on loopback: no proxy, whatever the environment says
    while time.monotonic() < deadline and server.poll() is None:
        try:
            session.get(f"{address}/health", timeout=5).raise_for_status()
            return True
        except requests.RequestException:
            time.sleep(0.2)
    return False


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def check_free(port: int) -> None:
    """Raises RegistryError where somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            other = port + 1
            raise RegistryError(
                f"port {port} is taken on {LOOPBACK}; try --port {other} (make: PORT={other})"
            ) from None


def last_words(log: Path) -> str:
    """The last line of a program's log, for a message."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1].strip()[:300] if lines else "it said nothing"


def _dies_with_us(stop: signal.Signals) -> list[str]:
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", stop.name.removeprefix("SIG")] if found else []


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    for number in (stop, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and _lives(process):
            time.sleep(0.05)


def _lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # takes note of its end, or its entry would keep the group alive
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
