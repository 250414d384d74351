"""The service as it is started, over HTTP: readers read, trainers register, owners promote, strangers get nothing."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from registry.server.backup import backup
from registry.server.places import is_running, places_of, service_folder
from registry.server.processes import free_port
from registry.server.restore import restore
from registry.server.users import Users, may_judge, open_users
from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.fetching import pull
from registry.versions.records import EncoderVersion, Lineage
from registry.versions.store import EncoderStore
from ssl_core.errors import IntegrityError, RegistryError, SplatsweepError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAME = "cross-modal-points"
ROOT = Path(__file__).resolve().parents[3]
CODE = (
    "import sys; from pathlib import Path; from registry.server.server import serve; "
    "serve(Path(sys.argv[1]), int(sys.argv[2]), None, lambda text: print(text, flush=True))"
)
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


class Serving:
    """`serve` in a process of its own, over one home."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.said = home, free_port(), list[str]()
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = [sys.executable, "-c", CODE, str(self.home), str(self.port)]
        far = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}  # and nobody there
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env={**os.environ, **far}
        )
        for line in self.process.stdout:
            self.said.append(line.strip())
            if "administrator" in line or "Error" in line:
                return
        pytest.fail("\n".join(self.said))

    def stop(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    # not below pytest's own folder, which nobody else may enter: where we are root, Postgres runs as another user
    with tempfile.TemporaryDirectory(prefix="splat-serve-") as folder:
        home = Path(folder) / "work%2Fspace 100% ?a=1#top;'\"&$é"
        home.mkdir()
        for place in (home, home.parent):
            place.chmod(0o755)
        made = Serving(home)
        made.start()
        yield made
        if made.process.poll() is None:
            made.stop()


@pytest.fixture(scope="module")
def passwords(serving: Serving) -> dict[str, str]:
    users = open_users(serving.home, {})
    made = {name: users.add(name, role) for name, role in (("rita", "reader"), ("tom", "trainer"), ("olga", "owner"))}
    assert all(made.values())
    return made


@contextmanager
def signed_in(serving: Serving, name: str, password: str, tmp_path: Path) -> Iterator[RunLog]:
    """MLflow's client with this user's variables."""
    before = {variable: os.environ.get(variable) for variable in VARIABLES}
    os.environ.update(zip(VARIABLES, (serving.address, name, password), strict=True))
    try:
        with open_run_log(serving.address, tmp_path / name) as log:
            yield log
    finally:
        for variable, value in before.items():
            os.environ.pop(variable, None)
            if value is not None:
                os.environ[variable] = value


@pytest.fixture
def as_user(serving: Serving, passwords: dict[str, str], tmp_path: Path) -> Any:
    return lambda name: signed_in(serving, name, passwords[name], tmp_path)


@pytest.fixture(scope="module")
def version(serving: Serving, passwords: dict[str, str], bundles: list[Path], tmp_path_factory: Any) -> EncoderVersion:
    """Registered by the trainer."""
    with signed_in(serving, "tom", passwords["tom"], tmp_path_factory.mktemp("tom")) as log:
        study = log.start_run("a-study", {"splatsweep.kind": "study"}, {})
        trial = log.start_nested(study, "trial-000", {"splatsweep.kind": "trial"}, {"lr": 0.1})
        log.client.log_metric(trial, "m", 1.0)
        lineage = Lineage(study="a-study", trial=0, run_id=trial, seed=0)
        return EncoderStore(log).register(bundles[0], NAME, lineage, trial)


def refused(log: RunLog, call: Any, *arguments: Any) -> str:
    from mlflow.exceptions import MlflowException

    # artifacts travel by another client of MLflow's, with errors of its own
    with pytest.raises((MlflowException, SplatsweepError, requests.HTTPError)) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "PERMISSION_DENIED" in text or "403" in text or "Permission denied" in text, text
    return text


def test_strangers_get_nothing(serving: Serving) -> None:
    api = "/api/2.0/mlflow"
    for path in ("/", "/graphql", f"{api}/registered-models/search", f"{api}-artifacts/artifacts?path=",
                 f"{api}/users/list", "/api/3.0/mlflow/roles/list?workspace=default"):  # fmt: skip
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(serving.address + path, timeout=30)
        assert caught.value.code == 401, path
    with pytest.raises(RegistryError, match="administrator's"):
        Users(serving.address, "admin", "wrong password").list()


def test_a_trainer_registers_and_cannot_promote(as_user: Any, version: EncoderVersion) -> None:
    assert version.aliases == ("candidate",)
    with as_user("tom") as log:
        store = EncoderStore(log)
        assert "owner" in refused(log, store.set_alias, version, "champion")
        refused(log, log.client.delete_registered_model_alias, NAME, "candidate")
        refused(log, store.tag, version, {"splatsweep.checksums": "0" * 64})
        refused(log, store.add_event, version, "promoted", "by myself")
        refused(log, log.client.delete_model_version_tag, NAME, "1", "splatsweep.checksums")
        refused(log, log.client.delete_model_version, NAME, "1")
        refused(log, log.client.delete_registered_model, NAME)
        refused(log, log.client.rename_registered_model, NAME, "other")
        refused(log, log.client.delete_experiment, log.connection.experiment_id)
        assert store.get(NAME, 1) == version
        assert not may_judge(log.tracking_uri)


def test_a_trainer_does_not_change_a_finished_models_files(
    as_user: Any, version: EncoderVersion, tmp_path: Path
) -> None:
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(b"other weights")
    with as_user("tom") as log:
        refused(log, log.client.log_model_artifact, version.model_id, str(file))
        refused(log, log.client.finalize_logged_model, version.model_id, "FAILED")
        run = log.client.get_run(version.run_id)
        log.client.log_artifact(version.run_id, str(file))  # of a trial of the trainer's own
        assert run.data.metrics == {"m": 1.0}
        pull(EncoderStore(log), f"{NAME}@candidate", tmp_path / "pulled")


def test_a_trainer_does_not_write_a_judges_run(as_user: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("{}")
    with as_user("olga") as log:
        judged = log.start_run("evaluate", {"splatsweep.kind": "evaluation"}, {})
        log.log_file(judged, file)
    with as_user("tom") as log:
        refused(log, log.client.log_metric, judged, "accuracy", 1.0)
        refused(log, log.client.set_tag, judged, "splatsweep.kind", "trial")
        refused(log, log.log_file, judged, file)
        refused(log, log.start_run, "a ledger", {"splatsweep.kind": "ledger"}, {})
        own = log.start_run("mine", {}, {})
        refused(log, log.client.set_tag, own, "splatsweep.kind", "ledger")


def test_a_reader_pulls_and_changes_nothing(as_user: Any, version: EncoderVersion, tmp_path: Path) -> None:
    with as_user("rita") as log:
        store = EncoderStore(log)
        assert store.resolve(f"{NAME}@candidate").reference == version.reference
        folder = pull(store, f"{NAME}@candidate", tmp_path / "pulled")
        assert (folder / "encoder.safetensors").exists()
        for alias in ("champion", "candidate"):
            refused(log, store.set_alias, version, alias)
        refused(log, store.tag, version, {"note": "mine"})
        refused(log, log.start_run, "mine", {}, {})
        refused(log, log.client.create_registered_model, "mine")
        refused(log, log.client.create_experiment, "mine")
        refused(log, log.client.log_metric, version.run_id, "m", 2.0)
        file = tmp_path / "file"
        file.write_text("x")
        refused(log, log.client.log_artifact, version.run_id, str(file))
        assert not may_judge(log.tracking_uri)
        with pytest.raises(RegistryError, match="administrator's"):
            Users(log.tracking_uri, "rita", os.environ["MLFLOW_TRACKING_PASSWORD"]).add("eve", "owner")


def test_an_owner_promotes(as_user: Any, version: EncoderVersion, passwords: dict[str, str], serving: Serving) -> None:
    with as_user("olga") as log:
        store = EncoderStore(log)
        assert may_judge(log.tracking_uri)
        store.set_alias(store.add_event(version, "promoted", "by hand"), "champion")
        assert store.resolve(f"{NAME}@champion").status == "champion"
    with as_user("tom") as log:
        refused(log, EncoderStore(log).set_alias, version, "champion")
    with pytest.raises(RegistryError, match="administrator's"):
        Users(serving.address, "olga", passwords["olga"]).add("eve", "owner")


def test_users_change_roles_and_go(serving: Serving, passwords: dict[str, str]) -> None:
    users = open_users(serving.home, {})
    assert users.add("vic", "owner")
    assert users.add("vic", "reader") is None
    assert {user.name: user.role for user in users.list()}["vic"] == "reader"
    assert users.add("vic", "reader", renew=True)
    users.remove("vic")
    assert "vic" not in {user.name for user in users.list()}
    with pytest.raises(RegistryError, match="no user vic"):
        users.remove("vic")
    with pytest.raises(RegistryError, match="not a usable name"):
        users.add("../vic", "reader")
    with pytest.raises(RegistryError, match="is an administrator"):
        users.add("admin", "reader")


def test_secrets_stay_in_private_files(serving: Serving) -> None:
    folder = service_folder(serving.home)
    secrets = (folder / "secrets.json").read_text()
    for word in [part for part in secrets.split('"') if len(part) > 20]:
        assert word not in "\n".join(serving.said)
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not any(word.encode() in command for command in commands)
    for path in folder.iterdir():
        if path.is_file() and path.suffix != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_it_listens_on_loopback_and_runs_once(serving: Serving) -> None:
    assert is_running(service_folder(serving.home)) is not None
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if not address.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((address, serving.port), timeout=5)
    again = subprocess.run(
        [sys.executable, "-c", CODE, str(serving.home), str(free_port())], capture_output=True, text=True, cwd=ROOT
    )
    assert "is running; stop it first" in again.stderr


def answers(log: RunLog, to: Path) -> dict[str, Any]:
    store = EncoderStore(log)
    folder = pull(store, f"{NAME}@champion", to)
    runs = log.client.search_runs([log.connection.experiment_id], order_by=["attributes.run_id"])
    return {
        "versions": [version.model_dump() for version in store.list()],
        "bytes": {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()},
        "runs": [(run.info.run_id, run.data.params, run.data.tags, run.data.metrics) for run in runs],
    }


def test_backup_kill_wipe_restore_gives_the_same_answers(
    serving: Serving, passwords: dict[str, str], as_user: Any, tmp_path: Path
) -> None:
    """Last in the file: the service is ended, and comes back from the backup's file alone."""
    with as_user("rita") as log:
        before = answers(log, tmp_path / "before")
    file = tmp_path / "registry.tar"
    with places_of(serving.home, environ={}) as places:
        done = backup(places, file)
    assert done.files >= 6
    with pytest.raises(RegistryError, match="stop it first"), places_of(serving.home, environ={}, stopped=True):
        pass
    serving.stop(signal.SIGKILL)  # nothing is left behind, even so
    folder, deadline = service_folder(serving.home), time.monotonic() + 60
    # Postgres names its files by their full paths: while it ends, no other may lie there
    while listens(serving.port) or (folder / "postgres" / "postmaster.pid").exists():
        assert time.monotonic() < deadline, "MLflow's server or Postgres outlived the command"
        time.sleep(0.2)
    folder.rename(serving.home / "gone")
    with places_of(serving.home, "service", environ={}, stopped=True) as places:
        restore(places, file)
    serving.start()
    with as_user("rita") as log:  # users and passwords are back, too
        assert answers(log, tmp_path / "after") == before
    assert open_users(serving.home, {}).list()  # and the administrator has the new service's password
    with as_user("tom") as log:
        refused(log, log.client.set_registered_model_alias, NAME, "champion", "1")
        assert log.start_run("goes on", {}, {})
    with places_of(serving.home, environ={}) as places, pytest.raises(RegistryError, match="not empty"):
        restore(places, file)
    serving.stop(signal.SIGTERM)
    assert serving.process.returncode == 0
    assert not listens(serving.port)


def test_tampered_artifacts_are_refused_by_pulls(
    serving: Serving, passwords: dict[str, str], version: EncoderVersion, tmp_path: Path
) -> None:
    """Somebody with the disk moves the home, and changes one byte."""
    serving.home = serving.home.rename(serving.home.with_name("moved %41"))
    again = Serving(serving.home)
    again.start()
    try:
        weights = next(
            service_folder(serving.home)
            .joinpath("artifacts")
            .rglob(f"{version.model_id}/artifacts/encoder.safetensors")
        )
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with (
            signed_in(again, "rita", passwords["rita"], tmp_path) as log,
            pytest.raises(IntegrityError),
        ):
            pull(EncoderStore(log), f"{NAME}@champion", tmp_path / "pulled")
        assert not (tmp_path / "pulled").exists()
    finally:
        again.stop()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
