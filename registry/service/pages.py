"""MLflow's own pages over the embedded store, on loopback."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.connection import connect
from registry.service.processes import LOOPBACK, check_free, termination_interrupts
from ssl_core.errors import RegistryError

START_SECONDS = 120.0
Server = subprocess.Popen[bytes]


def serve_pages(tracking_uri: str | None, home: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted. With a server's address given, only say where to look.

    The server binds to 127.0.0.1 and has no login: from elsewhere, use a tunnel, or run `mlflow server
    --app-name basic-auth` behind TLS. Ctrl-C and a termination signal end it with all its workers.

    Raises:
        RegistryError: the store cannot be opened, the port is taken, or the server ended by itself.
    """
    if tracking_uri and tracking_uri.startswith(("http://", "https://")):
        announce(f"MLflow is at {tracking_uri}")
        return
    check_free(port)
    connection = connect(tracking_uri, home, "splatsweep")
    artifacts = (home.resolve() / "mlartifacts").as_uri()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", connection.tracking_uri,
        "--default-artifact-root", artifacts, "--host", LOOPBACK, "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    log = home.resolve() / "mlflow-server.log"
    announce("starting MLflow, which takes some seconds")
    with log.open("wb") as output, _running(command, output) as server, termination_interrupts():
        try:
            if _ready(server, port):
                site = f"http://{LOOPBACK}:{port}"
                announce(f"MLflow: {site}  (Ctrl-C stops it)")
                # the last part selects the pages for training; those for chat applications are MLflow's default
                studies = f"experiments/{connection.experiment_id}/runs?workflowType=machine_learning"
                announce(f"studies: {site}/#/{studies}")
            server.wait()
        except KeyboardInterrupt:
            announce("stopped")
            return
    raise RegistryError(f"MLflow's server ended with code {server.returncode}; its words are in {log}")


@contextmanager
def _running(command: list[str], output: object) -> Iterator[Server]:
    """The server in a process group of its own: its workers do not end with it, so the group is ended."""
    # the server's job runner serves features that are not used here, and slows its start
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    server = subprocess.Popen(
        command,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # type: ignore[call-overload]
    )
    try:
        yield server
    finally:
        _end_group(server)


def _end_group(server: Server) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline and _group_lives(server):
            time.sleep(0.1)


def _group_lives(server: Server) -> bool:
    server.poll()  # takes note of its end, or its entry would keep the group alive
    try:
        os.killpg(server.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _ready(server: Server, port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://{LOOPBACK}:{port}/health", timeout=2).close()
            return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    return False
