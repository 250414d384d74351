"""The same road through a real MLflow server, and the pages command that starts one."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.champions.promote import promote
from registry.server.server import serve_pages
from registry.tracking.run_log import open_run_log
from registry.versions.fetching import pull
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig

NAME = "cross-modal-points"
CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()), baselines=(), sections=NO_SECTIONS
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(home: Path) -> Iterator[str]:
    """The address of `serve_pages`, run by its own program and ended by a termination signal."""
    port = free_port()
    code = (
        "import sys; from pathlib import Path; from registry.server.server import serve_pages; "
        "serve_pages(None, Path(sys.argv[1]), int(sys.argv[2]), announce=lambda text: print(text, flush=True))"
    )
    program = subprocess.Popen([sys.executable, "-c", code, str(home), str(port)], stdout=subprocess.PIPE, text=True)
    try:
        lines = [program.stdout.readline(), program.stdout.readline()]
        yield re.search(r"http://\S+", lines[1])[0]
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=30) == 0
        program.stdout.close()
    with pytest.raises(OSError):  # nobody is left behind
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)


@pytest.mark.slow
def test_the_whole_road_through_a_server(server, bundles, tiny_pack, tmp_path):
    with open_run_log(server, tmp_path / "elsewhere") as log:
        store = EncoderStore(log)
        trial = log.start_nested(log.start_run("remote", {}, {"trials": 1}), "trial-000", {}, {"lr": 0.1})
        lineage = Lineage(study="remote", trial=0, run_id=trial, seed=0)
        version = store.register(bundles[0], NAME, lineage, trial)
        assert store.register(bundles[0], NAME, lineage, trial) == version
        decision = promote(store, tiny_pack, version, CONFIG)
        assert decision.promoted, decision.reason
        folder = pull(store, f"{NAME}@champion", tmp_path / "out")
    assert (folder / "program.pt2").exists()


def test_a_taken_port_and_a_servers_address(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RegistryError, match=f"port {port} is taken"):
            serve_pages(None, tmp_path, port, announce=print)
    said: list[str] = []
    serve_pages("http://example.invalid", tmp_path, 1, announce=said.append)
    assert said == ["MLflow is at http://example.invalid"]
