"""The tracking service as operations run it: Postgres, an S3 API, and MLflow with basic authentication over both."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import pytest
from cluster_network import Place, until
from fake_store import S3Server

TESTS = Path(__file__).resolve().parents[1]
BUCKET = "packs"
"""Of the fixture in tests/study/fake_store.py."""


@dataclass
class Service:
    """A running tracking service; all of it listens on one place's loopback."""

    place: Place
    folder: Path
    user: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    port: int = 0
    database_port: int = 0
    store: str = ""
    mlflow: subprocess.Popen[str] | None = None

    @property
    def uri(self) -> str:
        """For MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def access(self) -> dict[str, str]:
        """What a client of MLflow needs; none of it leads to Postgres or the object store."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": self.user,
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }

    @property
    def store_access(self) -> dict[str, str]:
        """What MLflow needs to reach the object store."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.store,
            "AWS_ENDPOINT_URL": self.store,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start_mlflow(self) -> None:
        """Start the server, the first time or again."""
        words = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--backend-store-uri", self._database("mlflow")]
        artifacts = ["--artifacts-destination", f"s3://{BUCKET}/mlflow"]
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_", "RAY_"))},
            **self.store_access,
            "MLFLOW_AUTH_CONFIG_PATH": str(self._auth_file()),
            "MLFLOW_AUTH_ADMIN_USERNAME": self.user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.password,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        log = self.folder / "mlflow.log"
        self.mlflow = self.place.start([*words, *where, *artifacts], env, log, start_new_session=True)
        until(self._healthy, f"MLflow answers; see {log}", 240, every=1.0)

    def stop_mlflow(self) -> None:
        """kill -9 of the server and its workers."""
        if self.mlflow is not None:
            os.killpg(self.mlflow.pid, signal.SIGKILL)
            self.mlflow.wait()
            self.mlflow = None

    def _healthy(self) -> bool:
        assert self.mlflow is not None
        assert self.mlflow.poll() is None, (self.folder / "mlflow.log").read_text()[-4000:]
        code = f"import urllib.request; urllib.request.urlopen('{self.uri}/health', timeout=5)"
        words = self.place.command([sys.executable, "-c", code])
        return subprocess.run(words, capture_output=True).returncode == 0

    def _database(self, name: str) -> str:
        """SQLAlchemy's default driver for Postgres is another one."""
        return f"postgresql+psycopg2://postgres:{self.password}@127.0.0.1:{self.database_port}/{name}"

    def _auth_file(self) -> Path:
        """MLflow's authentication has its own database, and takes its address from a file only."""
        file = self.folder / "basic_auth.ini"
        file.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = {self._database('mlflow_auth')}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"  # else every request spends a second on hashing the password
        )
        file.chmod(0o600)
        return file


@contextmanager
def service(place: Place, folder: Path) -> Iterator[Service]:
    """The whole service at a place; skips where Postgres is absent."""
    made = Service(place, folder)
    made.port = place.free_port()
    with ExitStack() as stack:
        made.database_port = stack.enter_context(postgres(place, made.password))
        made.store = stack.enter_context(object_store(place))
        made.start_mlflow()
        stack.callback(made.stop_mlflow)
        yield made


@contextmanager
def postgres(place: Place, password: str) -> Iterator[int]:
    """A Postgres on loopback with a password, two databases, and nothing of it kept. Yields its port."""
    programs = {name: shutil.which(name) for name in ("initdb", "postgres")}
    if not all(programs.values()):
        pytest.skip("no Postgres here (initdb and postgres on PATH)")
    folder, port = Path(mkdtemp(prefix="splat-pg-")), place.free_port()
    try:
        secret = folder / "password"
        secret.write_text(password)
        user = _give_away(folder)
        data = folder / "data"
        asks = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username=postgres", "--encoding=UTF8", "--no-sync"]
        env = {**os.environ, "HOME": str(folder)}
        place.run([*user, str(programs["initdb"]), "-D", data, *asks], env)
        # nothing here outlives the test, so nothing waits for the disk
        settings = ["-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
        log = folder / "log"
        log.touch()
        words = [*user, str(programs["postgres"]), "-D", data, "-p", str(port), *settings]
        process = place.start(words, env, log)
        try:
            _make_databases(place, port, password, log)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # its fast way out: clients are dropped, shared memory is freed
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give_away(folder: Path) -> list[str]:
    """Postgres refuses to run as root: the folder becomes the user's, and the command that runs as that user."""
    if os.geteuid() != 0:
        return []
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("Postgres does not run as root, and there is no user postgres")
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


def _make_databases(place: Place, port: int, password: str, log: Path) -> None:
    code = (
        "import sys, psycopg2\n"
        "c = psycopg2.connect(host='127.0.0.1', port=int(sys.argv[1]), user='postgres', password=sys.argv[2])\n"
        "c.autocommit = True\n"
        "for name in ('mlflow', 'mlflow_auth'): c.cursor().execute('CREATE DATABASE ' + name)\n"
    )
    words = place.command([sys.executable, "-c", code, str(port), password])
    until(lambda: subprocess.run(words, capture_output=True).returncode == 0, f"Postgres answers; see {log}", 60, 0.5)


@contextmanager
def object_store(place: Place) -> Iterator[str]:
    """An S3 API on the place's loopback. Yields its address."""
    words = place.command([sys.executable, TESTS / "study/fake_store.py"])
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield S3Server(process).url
    finally:
        process.kill()
        process.wait()
