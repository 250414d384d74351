"""MLflow's own pages over the embedded store, on loopback."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from registry.server.processes import LOOPBACK, answers, check_free, last_words, program, termination_interrupts
from registry.tracking.connection import connect
from ssl_core.errors import RegistryError


def serve_pages(tracking_uri: str | None, home: Path, port: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted. With a server's address given, only say where to look.

    The server binds to 127.0.0.1 and has no login: from elsewhere use a tunnel, or `splatsweep serve`. Ctrl-C and a
    termination signal end it with all its workers.

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
    # the server's job runner serves features that are not used here, and slows its start
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    log, site = home.resolve() / "mlflow-server.log", f"http://{LOOPBACK}:{port}"
    announce("starting MLflow, which takes some seconds")
    with termination_interrupts(), program(command, environment, log) as server:
        try:
            if answers(server, site):
                announce(f"MLflow: {site}  (Ctrl-C stops it)")
                # the last part selects the pages for training; those for chat applications are MLflow's default
                studies = f"experiments/{connection.experiment_id}/runs?workflowType=machine_learning"
                announce(f"studies: {site}/#/{studies}")
            server.wait()
        except KeyboardInterrupt:
            announce("stopped")
            return
    raise RegistryError(f"MLflow's server ended with code {server.returncode}: {last_words(log)}; see {log}")
