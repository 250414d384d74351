"""MLflow's pages on this machine: its own server over the embedded store, reachable from loopback only."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from registry.run_log import open_run_log
from ssl_core.errors import RegistryError

HOST = "127.0.0.1"
START_SECONDS = 90.0


def serve_pages(tracking_uri: str | None, home: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted. With a server's address there is nothing to serve: its address is announced.

    Raises:
        RegistryError: the port is taken, or the server ended by itself.
    """
    if tracking_uri and tracking_uri.startswith(("http://", "https://")):
        announce(f"MLflow already runs at {tracking_uri}")
        return
    with open_run_log(
        tracking_uri, home
    ) as log:  # creates or migrates the store, so that the server need not
        address = log.tracking_uri
    _check_free(port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address]
    command += ["--artifacts-destination", (home.resolve() / "mlartifacts").as_uri()]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_until_ready(server, port)
        announce(f"MLflow pages: http://{HOST}:{port}  (Ctrl-C ends them)")
        # read on, so that the server never blocks on a full pipe
        _, errors = server.communicate()
        raise RegistryError(
            f"the MLflow server ended by itself: {errors.strip()[-300:] or server.returncode}"
        )
    except KeyboardInterrupt:
        announce("stopped")
    finally:
        _stop(server)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise RegistryError(f"port {port} is in use on {HOST}; choose another with --port") from None


def _wait_until_ready(server: "subprocess.Popen[str]", port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)


def _stop(server: "subprocess.Popen[str]") -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
