"""Places for the parts of a cluster: network namespaces joined by a bridge, or this machine's loopback.

Namespaces need root and `ip`. In them each node has an address, a loopback and ports of its own, and its cable can
be pulled. Elsewhere everything shares 127.0.0.1, and nodes are told apart by their ports.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEVICE = "eth0"


@dataclass(frozen=True)
class Place:
    """Where a program can run.

    Attributes:
        name: of the node.
        address: other places reach it there.
        namespace: None on plain loopback.
    """

    name: str
    address: str
    namespace: str | None = None

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """The command that runs `words` here."""
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [*inside, *(str(word) for word in words)]

    def run(self, words: Sequence[str | Path], env: Mapping[str, str], timeout: float = 120.0) -> str:
        """Run to the end and return what it printed; a failure shows both outputs."""
        done = subprocess.run(self.command(words), env=dict(env), capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, (
            f"{words} failed ({done.returncode}):\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout

    def start(
        self, words: Sequence[str | Path], env: Mapping[str, str], log: Path, **more: Any
    ) -> subprocess.Popen[str]:
        """Start a program whose output goes to a file."""
        with log.open("a") as stream:
            return subprocess.Popen(self.command(words), env=dict(env), stdout=stream, stderr=stream, text=True, **more)

    def free_port(self) -> int:
        """A port nobody listens on; every namespace has its own, so any will do there."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def processes(self) -> list[int]:
        """What runs in the namespace; empty on plain loopback, where nothing tells ours from others'."""
        if self.namespace is None:
            return []
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True)
        return [int(word) for word in listed.stdout.split()]

    def kill_all(self) -> None:
        """End the whole node at once, as a power cut would."""
        for _ in range(50):
            left = self.processes()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return
            time.sleep(0.1)

    def cable(self, plugged: bool) -> None:
        """Pull the network cable, or put it back."""
        assert self.namespace is not None, "loopback has no cable"
        words = ["ip", "-n", self.namespace, "link", "set", DEVICE, "up" if plugged else "down"]
        subprocess.run(words, check=True)


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Place]]:
    """Places of these names for the duration of the block; what still runs in their namespaces is killed."""
    if not namespaces_work():
        yield {name: Place(name, "127.0.0.1") for name in names}
        return
    hub = f"splat{os.getpid()}-hub"
    places = {name: Place(name, f"10.89.0.{i}", f"splat{os.getpid()}-{name}") for i, name in enumerate(names, start=1)}
    try:
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "name", "br0", "type", "bridge")
        _ip("-n", hub, "link", "set", "br0", "up")
        for place in places.values():
            _join(hub, place)
        yield places
    finally:
        for place in places.values():
            place.kill_all()
        for namespace in [hub, *(place.namespace for place in places.values())]:
            subprocess.run(["ip", "netns", "del", str(namespace)], capture_output=True)


def namespaces_work() -> bool:
    """Whether this process may make network namespaces. SPLATSWEEP_TEST_LOOPBACK=1 says no."""
    if os.environ.get("SPLATSWEEP_TEST_LOOPBACK") or shutil.which("ip") is None or os.geteuid() != 0:
        return False
    probe = f"splat{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode == 0
    if made:
        joined = ["ip", "-n", probe, "link", "add", "name", "br0", "type", "bridge"]
        made = subprocess.run(joined, capture_output=True).returncode == 0
        subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return made


def until(true: Callable[[], Any], what: str, seconds: float = 60.0, every: float = 0.1) -> Any:
    """Wait for something to become true; what it returned then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = true()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def _join(hub: str, place: Place) -> None:
    """Give the place a namespace with a cable to the hub's bridge."""
    inside, port = str(place.namespace), f"to-{place.name}"[:15]
    _ip("netns", "add", inside)
    _ip("-n", hub, "link", "add", port, "type", "veth", "peer", "name", DEVICE, "netns", inside)
    _ip("-n", hub, "link", "set", port, "master", "br0", "up")
    _ip("-n", inside, "addr", "add", f"{place.address}/24", "dev", DEVICE)
    for device in (DEVICE, "lo"):
        _ip("-n", inside, "link", "set", device, "up")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
