"""MLflow as companies run it: without artifact proxy, behind proxies with limits, a prefix, or a page to sign in."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from http_server import MlflowServer, Wire

sys.path.append(str(Path(__file__).parents[2] / "contracts"))

from mirror import BEGAN, Connect, Played, assert_mirrored, at, play, tell

from registry.tracking.connection import UnreachableError, UnreachableRootError
from registry.tracking.cursor import read_cursor
from registry.tracking.mirror import Mirror
from registry.tracking.names import STUDY_RUN
from registry.tracking.run_log import RunLog, open_run_log
from registry.tracking.run_view import RunView
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore
from ssl_core.errors import RegistryError

OWN = "/proc/self/cwd/artifacts"
"""A folder that is another one for each process: of the server its own, of a client that of where it stands."""
NUMBERS = itertools.count()
Opened = Callable[[str, str], RunLog]

pytestmark = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs Linux")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the mirror's own process."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """New experiments keep their artifacts in its own folder; `proxied` travels through it."""
    made = MlflowServer(tmp_path_factory.mktemp("server"), ["--serve-artifacts", "--default-artifact-root", OWN])
    made.start()
    made.wait()
    from mlflow import MlflowClient

    MlflowClient(made.address).create_experiment("proxied", artifact_location="mlflow-artifacts:/proxied")
    yield made
    made.kill()


@pytest.fixture
def stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the client stands."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def wire(server: MlflowServer) -> Iterator[Wire]:
    made = Wire(server.address)
    yield made
    made.close()


@pytest.fixture
def source() -> Played:
    """A study that nobody else has."""
    made = Played(f"key{next(NUMBERS)}")
    play(made, trials=1)
    return made


@pytest.fixture
def registering(bundles: list[Path]) -> Callable[[RunLog], EncoderStore]:
    """Registers an encoder as `tiny` of a new name, and returns the store."""

    def register(log: RunLog) -> EncoderStore:
        run_id, store = log.start_run("trial", {}, {}), EncoderStore(log)
        lineage = Lineage(study="s", trial=1, run_id=run_id, seed=1)
        store.register(bundles[0], f"tiny{next(NUMBERS)}", lineage, run_id)
        return store

    return register


# ---- no artifact proxy


def test_values_arrive_without_the_artifacts_that_have_no_way_and_nothing_is_written_here(
    source: Played, server: MlflowServer, stands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = at(server.address, tmp_path / "home", "own")
    tell(source, connecting, tmp_path)
    assert not list(stands.iterdir()), "the artifacts went into the folder where the command was started"
    cursor = read_cursor(tmp_path)
    assert (cursor.complete, cursor.trouble, cursor.files_left) == (True, "", len(source.views))
    assert cursor.left(len(source.facts)) == 0
    assert all(word in cursor.waiting_why for word in (OWN, "--serve-artifacts", "share that folder"))
    assert "MLflow has not taken 2 files" in cursor.shortfall()[0]
    client = connecting().client
    for run_id in cursor.runs.values():
        assert client.get_run(run_id).info.status == "FINISHED"
        assert client.get_run(run_id).data.metrics
    monkeypatch.chdir(server.folder)  # the folder is shared: it is the same from here
    tell(source, connecting, tmp_path)
    assert read_cursor(tmp_path).shortfall() == []
    assert_mirrored(source, connecting())


def test_a_root_that_cannot_be_made_here_is_named(server: MlflowServer, stands: Path, tmp_path: Path) -> None:
    (stands / "artifacts").write_text("no folder")
    with open_run_log(server.address, tmp_path / "home", "own2") as log:
        run_id = log.start_run("run", {}, {})
        with pytest.raises(UnreachableRootError, match="Not a directory"):
            log.log_text(run_id, "text", "note.txt")
    assert [path.name for path in stands.iterdir()] == ["artifacts"]


def test_registering_says_so_and_leaves_no_half_version(
    registering: Callable[[RunLog], EncoderStore],
    server: MlflowServer,
    stands: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_run_log(server.address, tmp_path / "home", "own") as log:
        with pytest.raises(UnreachableRootError, match="--serve-artifacts"):
            registering(log)
        assert not list(stands.iterdir())
        monkeypatch.chdir(server.folder)
        store = registering(log)
        version = store.list()[-1]
        assert store.download(version.name, version.version, tmp_path).is_dir()
        monkeypatch.chdir(stands)
        with pytest.raises(UnreachableRootError, match="share that folder"):
            store.download(version.name, version.version, tmp_path)
        with pytest.raises(UnreachableRootError, match="share that folder"):
            adopted_here(store, version.name, version.version)
    assert not list(stands.iterdir())


def adopted_here(store: EncoderStore, name: str, version: int) -> None:
    """What `watch` looks at first: a version whose files cannot be reached is not one without files."""
    from registry.champions.adoption import check_listing
    from registry.champions.pending import one_version

    check_listing(store, one_version(store, name, version))


def test_a_clouds_store_without_access_is_named_and_holds_up_no_value(
    source: Played, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3 = pytest.importorskip("boto3")
    from mlflow import MlflowClient
    from mlflow.store.artifact import s3_artifact_repo

    # of another test, with its address and its keys
    s3_artifact_repo._cached_get_s3_client.cache_clear()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
    for name in (*keys, "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    MlflowClient(server.address).create_experiment("cloud", artifact_location="s3://nobody/x")
    tell(source, at(server.address, tmp_path / "home", "cloud"), tmp_path)
    cursor = read_cursor(tmp_path)
    assert (cursor.complete, cursor.files_left, cursor.left(len(source.facts))) == (True, 2, 0)
    assert cursor.waiting_why.startswith("artifacts at s3://nobody/x: NoCredentialsError: ")
    with open_run_log(server.address, tmp_path / "home", "cloud") as log:
        run_id = log.start_run("run", {}, {})
        with pytest.raises(UnreachableRootError, match="give this machine access to that store"):
            log.log_text(run_id, "text", "note.txt")


# ---- a limit of the size of requests


def test_an_artifact_over_the_limit_waits_alone_and_goes_when_the_limit_is_lifted(
    source: Played, wire: Wire, tmp_path: Path
) -> None:
    connecting: Connect = at(wire.address, tmp_path / "home", "proxied")
    big = tmp_path / "folder" / "curve.txt"
    big.parent.mkdir()
    big.write_bytes(b"x" * 300_000)
    view = source.views["0"]
    source.show(
        "0", RunView(view.name, view.tags, {}, (), "FINISHED", BEGAN, BEGAN + 1, files={"folder/curve.txt": big})
    )
    wire.limit = 100_000
    mirror = tell(source, connecting, tmp_path)
    cursor = read_cursor(tmp_path)
    assert cursor.waiting == {"0": ("folder/curve.txt",)}
    assert cursor.waiting_why.startswith("run 0, folder/curve.txt: curve.txt (0.3 MB) is larger than a proxy")
    assert set(cursor.files) == set(source.views)
    assert mirror.cursor.refused == 0
    sent = len(wire.requests)
    tell(source, connecting, tmp_path)  # the next command, while the limit is as it was
    assert sum("/artifacts/" in request for request in wire.requests[sent:]) == 1
    assert read_cursor(tmp_path).waiting == cursor.waiting
    wire.limit = 0
    tell(source, connecting, tmp_path)
    assert read_cursor(tmp_path).shortfall() == []
    assert_mirrored(source, connecting())


def test_batches_over_the_limit_are_split(wire: Wire, tmp_path: Path) -> None:
    source = Played(f"key{next(NUMBERS)}")
    source.begin(STUDY_RUN)
    for step in range(1, 301):
        source.point(STUDY_RUN, step, loss=1.0 / step, probe=float(step))
    source.end(STUDY_RUN)
    wire.limit = 20_000
    mirror = tell(source, at(wire.address, tmp_path / "home", "proxied"), tmp_path)
    assert mirror.cursor.refused == 0
    assert_mirrored(source, at(wire.address, tmp_path / "home", "proxied")())


def test_a_version_over_the_limit_is_named_and_registered_when_the_limit_is_lifted(
    registering: Callable[[RunLog], EncoderStore], wire: Wire, tmp_path: Path
) -> None:
    with open_run_log(wire.address, tmp_path / "home", "proxied") as log:
        wire.limit = 20_000
        with pytest.raises(
            RegistryError, match=r"registering tiny\d+: [\w.]+ \(.* [kM]B\) is larger .*client_max_body"
        ):
            registering(log)
        wire.limit = 0
        assert registering(log).list()


def test_an_artifact_that_the_server_cannot_take_now_holds_up_no_value(
    source: Played, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, wire_is = at(wire.address, tmp_path / "home", "proxied"), wire.requests
    mirror = Mirror(source.again(), connecting, tmp_path)
    wire.broken = "/mlflow-artifacts/"
    with pytest.raises(UnreachableError, match=r"run study, folder/curve\.txt: "):
        mirror.round()
    cursor = read_cursor(tmp_path)
    assert (cursor.position, cursor.left(len(source.facts)), cursor.files_left) == (len(source.facts), 0, 2)
    assert connecting().client.get_run(cursor.runs["0"]).data.metrics
    assert sum("/mlflow-artifacts/" in request for request in wire_is) == 1, "one wait for all"
    wire.broken = ""
    while mirror.round():
        pass
    assert_mirrored(source, connecting())


# ---- what answers in MLflow's place


def test_a_page_to_sign_in_and_a_forgotten_prefix_are_named(server: MlflowServer, wire: Wire, tmp_path: Path) -> None:
    wire.page = "<!doctype html><html><head><title>Sign in\n to Example</title></head><body></body></html>"
    with pytest.raises(RegistryError, match="a web page 'Sign in to Example' answers there, not MLflow") as caught:
        open_run_log(wire.address, tmp_path).client.search_experiments()
    assert "<" not in str(caught.value)
    under = Wire(server.address, prefix="/ml")
    try:
        with pytest.raises(RegistryError, match=r"a web page '404 Not Found' with status 404 to .* answers there, not"):
            open_run_log(under.address.removesuffix("/ml"), tmp_path).client.search_experiments()
        for address in (under.address, f"{under.address}/"):
            with open_run_log(address, tmp_path, "proxied") as log:
                run_id = log.start_run("run", {}, {})
                log.log_text(run_id, "text", "note.txt")
                assert log.read_file(run_id, "note.txt") == b"text"
    finally:
        under.close()
