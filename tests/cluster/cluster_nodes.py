"""A Ray cluster of separate nodes, each a raylet of its own, with token authentication. Started by `ray start`."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cluster_network import Place, until

TESTS = Path(__file__).resolve().parents[1]
RAY = Path(sys.executable).with_name("ray")
OBJECT_STORE = 100 * 2**20
GCS_PORT = 6379


@dataclass
class Node:
    """One started node."""

    place: Place
    raylet: int


@dataclass
class RayNodes:
    """The cluster: a head, and workers that come and go.

    Attributes:
        head: its place; drivers run there.
        scratch: for Ray's sessions and logs; a short path, because sockets lie in it.
        token: every part of the cluster has it, and so must every client.
    """

    head: Place
    scratch: Path
    token: str = field(default_factory=lambda: secrets.token_hex(24))
    nodes: list[Node] = field(default_factory=list)
    port: int = GCS_PORT
    dashboard_port: int = 8265

    @property
    def address(self) -> str:
        """For RAY_ADDRESS."""
        return f"{self.head.address}:{self.port}"

    @property
    def dashboard(self) -> str:
        """Of the Jobs API, on the head's loopback."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def environment(self, **more: str) -> dict[str, str]:
        """For a client at the head: this process's, the fake sessions on the path, the token."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "AWS_"))}
        return {
            **kept,
            "HOME": str(self.scratch),
            "PATH": os.pathsep.join([str(RAY.parent), os.environ["PATH"]]),  # `python` is the one with the libraries
            "PYTHONPATH": os.pathsep.join([str(TESTS / "study"), str(TESTS / "cluster"), str(TESTS.parent)]),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_metrics_collection": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            **more,
        }

    def start_head(self, cpus: int, dashboard: bool) -> None:
        """Start the control process, the dashboard and the head's own slots."""
        if self.head.namespace is None:
            self.port, self.dashboard_port = self.head.free_port(), self.head.free_port()
        listening = ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard_port}"]
        more = ["--head", f"--port={self.port}", f"--temp-dir={self.scratch}", *listening]
        self._start(
            self.head,
            cpus,
            [*more, f"--include-dashboard={dashboard}", f"--ray-client-server-port={self.head.free_port()}"],
        )

    def add(self, place: Place, cpus: int) -> Node:
        """Start a worker node."""
        return self._start(place, cpus, [f"--address={self.address}"])

    def _start(self, place: Place, cpus: int, more: list[str]) -> Node:
        words = [RAY, "start", f"--node-ip-address={place.address}", f"--num-cpus={cpus}", "--num-gpus=0"]
        ports = [f"--{name}=0" for name in ("dashboard-agent-listen-port", "runtime-env-agent-port")]
        store = [f"--object-store-memory={OBJECT_STORE}", "--disable-usage-stats"]
        before = self._raylets()
        self._start_patiently(place, [*words, *ports, *store, *more])
        (raylet,) = self._raylets() - before
        node = Node(place, raylet)
        self.nodes.append(node)
        return node

    def _start_patiently(self, place: Place, words: list[str | Path]) -> None:
        """Ray gives a node 30 s to start, whatever else the machine does: a few tries."""
        for tries_left in (2, 1, 0):
            try:
                place.run(words, self.environment(), timeout=300)
                return
            except AssertionError as error:
                if not tries_left or "timed out during startup" not in str(error):
                    raise
                # at the head others run, too; elsewhere nothing but the node
                self.stop() if place is self.head else place.kill_all()

    def kill(self, node: Node) -> None:
        """kill -9 of the node's raylet and, where namespaces tell them apart, of all else that it ran."""
        with suppress(ProcessLookupError):
            os.kill(node.raylet, signal.SIGKILL)
        if node.place is not self.head:
            node.place.kill_all()
        self.nodes.remove(node)

    def stop(self) -> None:
        """End everything that was started with this scratch folder."""
        for _ in range(50):
            left = [pid for pid, words in _processes().items() if str(self.scratch) in words]
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.1)

    def _raylets(self) -> set[int]:
        sessions = f"--raylet_socket_name={self.scratch}"
        return {pid for pid, words in _processes().items() if sessions in words}

    def alive(self, environment: Mapping[str, str]) -> int:
        """Nodes that the control process believes alive."""
        code = "import ray; ray.init(logging_level=40); print(sum(n['Alive'] for n in ray.nodes()))"
        return int(self.head.run([sys.executable, "-c", code], {**environment, "RAY_ADDRESS": self.address}))


def _processes() -> dict[int, str]:
    """Command lines of all processes."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
    return found


def wait_for(process: subprocess.Popen[str], log: Path, seconds: float) -> None:
    """Wait for a program to end well; its last output is shown when it does not."""
    code = until(lambda: process.poll() is not None and ("code", process.returncode), f"the end of {log}", seconds)[1]
    assert code == 0, f"left with {code}:\n{log.read_text()[-6000:]}"
