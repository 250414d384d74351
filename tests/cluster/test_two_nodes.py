"""A study over two Ray nodes and a tracking service, parts of which die."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_network import Place, until
from cluster_nodes import RayNodes, wait_for
from cluster_service import Service
from fake_sessions import trained

HERE = Path(__file__).resolve().parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Driver:
    """The study's driver, a process at the head."""

    def __init__(self, nodes: RayNodes, tracking: Service, home: Path, name: str, trials: int, pace: float) -> None:
        self.home, self.name, self.trials, self.pace = home, name, trials, pace
        self.log = home / f"{name}.log"
        self.env = nodes.environment(RAY_ADDRESS=nodes.address, **tracking.access)
        self.place, self.tracking = nodes.head, tracking
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        """Run or continue the study: the same command."""
        assert self.process is None or self.process.poll() is not None
        words = [sys.executable, HERE / "run_cluster_study.py", self.home, self.name, str(self.trials), str(self.pace)]
        self.process = self.place.start(words, self.env, self.log)
        return self.process

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def folder(self) -> Path:
        return self.home / "studies" / self.name

    def epochs(self) -> int:
        """Epochs that any worker has trained."""
        return len(trained(self.folder))

    def wait_for_epochs(self, epochs: int) -> None:
        """Until that many epochs are trained, with the driver still at work."""
        process = self.process
        assert process is not None
        until(lambda: self.epochs() >= epochs or process.poll() is not None, f"progress; see {self.log}", 180)
        assert process.poll() is None, self.log.read_text()

    def facts(self) -> dict:
        """What MLflow and the object store hold."""
        env = {**self.env, **self.tracking.store_access}
        return json.loads(self.place.run([sys.executable, HERE / "tracking_facts.py", self.name], env))

    def check_whole(self) -> None:
        """All trials are there with one run each, nothing is RUNNING, artifacts lie in the object store."""
        from study.engine.ledger import read_ledger

        assert self.log.read_text().rstrip().endswith("done"), self.log.read_text()
        records = read_ledger(self.folder).records()
        assert [record.number for record in records] == list(range(self.trials))
        outcomes = Counter(str(record.outcome.value if record.outcome else None) for record in records)
        assert set(outcomes) <= {"COMPLETE", "STOPPED"}, (outcomes, [record.reason for record in records])
        assert outcomes["COMPLETE"] >= 1
        found = self.facts()
        assert found["artifact_root"].startswith("mlflow-artifacts:"), "clients reach artifacts through the server only"
        assert found["parents"] == ["FINISHED"]
        assert [number for number, _, _ in found["trials"]] == list(range(self.trials)), "one run per trial"
        assert {status for _, status, _ in found["trials"]} == {"FINISHED"}
        assert all("val/probe" in metrics for _, _, metrics in found["trials"])
        assert "report.html" in found["artifacts"]
        assert any(key.endswith("artifacts/report.html") for key in found["keys"])


Start = Callable[[str, int, float], Driver]


@pytest.fixture
def start(ray_head: RayNodes, tracking: Service, tmp_path: Path) -> Iterator[Start]:
    """`start(name, trials, pace)`: a driver that has not begun; none of their processes is left behind."""
    made: list[Driver] = []

    def make(name: str, trials: int, pace: float) -> Driver:
        made.append(Driver(ray_head, tracking, tmp_path, name, trials, pace))
        return made[-1]

    yield make
    for driver in made:
        driver.kill()


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_node_dies(start: Start, ray_head: RayNodes, places: dict[str, Place], deaths: int) -> None:
    driver = start(f"node-dies-{deaths}", 10 * deaths, 0.5)
    # all there before the study: starting a node can take longer than what is left of it
    workers = [ray_head.add(places[f"worker{i + 1}"], 1) for i in range(deaths)]
    process = driver.start()
    for worker in workers:
        driver.wait_for_epochs(driver.epochs() + 6)
        ray_head.kill(worker)
    wait_for(process, driver.log, 240)
    driver.check_whole()
    again = Counter(trained(driver.folder))
    assert max(again.values()) <= 1 + deaths, "an epoch is trained again only where its node died"
    assert sum(count - 1 for count in again.values()) <= 2 * deaths


def test_a_worker_node_is_cut_off(start: Start, ray_head: RayNodes, places: dict[str, Place]) -> None:
    """It trains on, unheard, while its trial goes on elsewhere; what it writes must not count."""
    if places["worker1"].namespace is None:
        pytest.skip("loopback has no cable to pull")
    driver = start("cut-off", 8, 1.0)
    worker = ray_head.add(places["worker1"], 1)
    process = driver.start()
    driver.wait_for_epochs(6)
    places["worker1"].cable(False)
    try:
        wait_for(process, driver.log, 300)
        driver.check_whole()
    finally:
        places["worker1"].cable(True)
        ray_head.kill(worker)


def test_the_driver_dies(start: Start, ray_head: RayNodes) -> None:
    driver = start("driver-dies", 5, 0.3)
    driver.start()
    driver.wait_for_epochs(5)
    driver.kill()
    before = trained(driver.folder)
    wait_for(driver.start(), driver.log, 240)
    driver.check_whole()
    again = Counter(trained(driver.folder))
    assert trained(driver.folder)[: len(before)] == before
    assert sum(count - 1 for count in again.values()) <= 2, "each of the trials that ran repeats at most an epoch"


def test_mlflow_dies_and_comes_back(start: Start, tracking: Service) -> None:
    driver = start("mlflow-dies", 5, 0.3)
    process = driver.start()
    driver.wait_for_epochs(3)
    tracking.stop_mlflow()
    try:
        wait_for(process, driver.log, 240)
        assert driver.epochs() == len(set(trained(driver.folder))), "nothing was trained twice"
    finally:
        tracking.start_mlflow()
    wait_for(driver.start(), driver.log, 120)
    driver.check_whole()
