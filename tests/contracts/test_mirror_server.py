"""The contract of `mirror.py` on a real MLflow server over HTTP that is late, killed, slow, broken, or emptied."""

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirror import Connect, Played, assert_mirrored, at, play, tell

sys.path.append(str(Path(__file__).parents[1] / "registry"))

from http_server import MlflowServer, Wire

from registry.tracking.connection import UnreachableError
from registry.tracking.cursor import read_cursor
from registry.tracking.mirror import Mirror
from registry.tracking.names import STUDY_RUN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the mirror's own process."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("server"))
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.fixture
def wire(server: MlflowServer) -> Iterator[Wire]:
    made = Wire(server.address)
    yield made
    made.close()


@pytest.fixture
def source() -> Played:
    """A study that nobody else has."""
    return Played(f"key{next(NUMBERS)}")


def patiently(mirror: Mirror, seconds: float = 240.0) -> list[str]:
    """Rounds until all has arrived; what went wrong meanwhile."""
    troubles, deadline = list[str](), time.monotonic() + seconds
    while True:
        try:
            if not mirror.round():
                return troubles
        except UnreachableError as error:
            if time.monotonic() > deadline:
                raise
            troubles.append(str(error))
            time.sleep(0.1)


def test_a_server_keeps_the_contract(source: Played, server: MlflowServer, tmp_path: Path) -> None:
    connecting = at(server.address, tmp_path / "home")
    play(source)
    for _ in range(2):
        tell(source, connecting, tmp_path)
        assert_mirrored(source, connecting())
    (tmp_path / "mirror.json").unlink()
    source.point("1", 4, loss=0.25, probe=4.0, nan=0.0)
    tell(source, connecting, tmp_path)
    assert_mirrored(source, connecting())


def test_a_server_that_is_late_is_killed_and_comes_back(source: Played, tmp_path: Path) -> None:
    server = MlflowServer(tmp_path)
    connecting: Connect = at(server.address, tmp_path / "home")
    source.begin(STUDY_RUN)
    follower = source.again()
    mirror = Mirror(follower, connecting, tmp_path)
    with pytest.raises(UnreachableError, match="no MLflow server answers"):
        mirror.round()
    server.start()
    try:
        assert any("no MLflow server" in text for text in patiently(mirror))
        play(source, epochs=10)
        server.kill()
        with pytest.raises(UnreachableError):
            mirror.round()
        assert read_cursor(tmp_path).trouble
        server.start()
        patiently(mirror)
        assert read_cursor(tmp_path).trouble == ""
        assert_mirrored(source, connecting())
    finally:
        server.kill()


def test_errors_lost_answers_and_a_slow_wire(source: Played, wire: Wire, tmp_path: Path) -> None:
    play(source)
    wire.answers = [500, 503, 502, 429]
    mirror = Mirror(source.again(), at(wire.address, tmp_path / "home"), tmp_path)
    assert patiently(mirror)
    assert_mirrored(source, mirror._server)  # type: ignore[arg-type]
    for lost in (1, 2, 3, 5, 8):  # requests are carried out, and the mirror hears of none of them
        other = Played(f"{source.key}-{lost}")
        play(other)
        folder = tmp_path / str(lost)
        folder.mkdir()
        wire.lost_answers = lost
        mirror = Mirror(other.again(), at(wire.address, tmp_path / "home"), folder)
        assert patiently(mirror)
        assert_mirrored(other, mirror._server)  # type: ignore[arg-type]
    wire.delay = 0.2
    for step in range(1, 101):
        source.point(STUDY_RUN, step + 100, total=float(step))
    tell(source, at(wire.address, tmp_path / "home"), tmp_path)
    wire.delay = 0.0
    assert_mirrored(source, at(wire.address, tmp_path / "home")())


@pytest.mark.parametrize("status", [401, 403])
def test_no_access_names_the_remedy_and_loses_nothing(status: int, source: Played, wire: Wire, tmp_path: Path) -> None:
    play(source)
    mirror = Mirror(source.again(), at(wire.address, tmp_path / "home"), tmp_path)
    wire.answers = [status] * 6
    assert any("MLFLOW_TRACKING_USERNAME" in text for text in patiently(mirror))
    assert_mirrored(source, mirror._server)  # type: ignore[arg-type]


def test_a_study_costs_few_requests(source: Played, wire: Wire, tmp_path: Path) -> None:
    play(source, trials=4, epochs=50)
    tell(source, at(wire.address, tmp_path / "home"), tmp_path)
    batches = [request for request in wire.requests if request.endswith("runs/log-batch")]
    assert len(batches) == 5
    assert len(wire.requests) < 40
