"""MLflow's own pages over the embedded store, on loopback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from registry.connection import connect
from ssl_core.errors import RegistryError

LOOPBACK = "127.0.0.1"


def serve_pages(tracking_uri: str | None, home: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted. With a server's address given, only say where to look.

    The server binds to 127.0.0.1 and has no login: from elsewhere, use a tunnel, or run `mlflow server
    --app-name basic-auth` behind TLS.

    Raises:
        RegistryError: the store cannot be opened, or the port is taken.
    """
    if tracking_uri and tracking_uri.startswith(("http://", "https://")):
        announce(f"MLflow is at {tracking_uri}")
        return
    connection = connect(tracking_uri, home, "splatsweep")
    artifacts = (home.resolve() / "mlartifacts").as_uri()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", connection.tracking_uri,
        "--default-artifact-root", artifacts, "--host", LOOPBACK, "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    announce(f"MLflow: http://{LOOPBACK}:{port}  (Ctrl-C stops it)")
    process = subprocess.Popen(command)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait(timeout=20)
        return
    if code:
        raise RegistryError(f"MLflow's server ended with code {code}; is port {port} taken? try PORT={port + 1}")
