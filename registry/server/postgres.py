"""A Postgres of the service's own, on loopback with a password, where its programs are installed."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.server.processes import LOOPBACK, free_port, last_words, program
from registry.server.secret_file import write_private
from ssl_core.errors import RegistryError

NAMES = ("mlflow", "mlflow_auth")
"""databases: runs and models; users"""
_START_SECONDS = 60.0


def lacking(folder: Path) -> str:
    """Why no Postgres can run in a folder, for people; empty where it can."""
    missing = [name for name in ("initdb", "postgres", "pg_ctl") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not on PATH"
    if importlib.util.find_spec("psycopg2") is None:
        return "the library psycopg2 is not installed"
    if {"\n", "\r"} & set(str(folder)):
        return "its programs take no line break in a path"
    if os.geteuid() != 0:
        return "" if _is_known(os.geteuid()) else "it runs as no user that the system does not list"
    # Postgres refuses to run as root
    user = _user()
    if user is None or shutil.which("setpriv") is None:
        return "it does not run as root, and there is no user postgres"
    if subprocess.run([*_as(user), "test", "-x", str(folder)], capture_output=True).returncode:
        return f"it does not run as root, and the user postgres cannot enter {folder}"
    return ""


def address(password: str, port: int, name: str) -> str:
    """For SQLAlchemy; its default driver for Postgres is another one."""
    return f"postgresql+psycopg2://postgres:{password}@{LOOPBACK}:{port}/{name}"


@contextmanager
def running_postgres(folder: Path, password: str, log: Path) -> Iterator[int]:
    """Postgres over the folder `folder/postgres`, made at the first start, while the block runs. Yields its port.

    Raises:
        RegistryError: it cannot be made or does not start; the message has its last words.
    """
    data, user = folder / "postgres", _user() if os.geteuid() == 0 else None
    if not (data / "PG_VERSION").exists():
        _make(data, password, user)
    # one that was left behind by a process that was killed
    pid = data / "postmaster.pid"
    if pid.exists():
        subprocess.run([*_as(user), "pg_ctl", "stop", "-D", str(data), "-m", "fast"], capture_output=True)
    port = free_port()
    settings = [f"listen_addresses={LOOPBACK}", "unix_socket_directories=", "password_encryption=scram-sha-256"]
    options = [word for setting in settings for word in ("-c", setting)]
    words = [*_as(user, signal.SIGINT), "postgres", "-D", str(data), "-p", str(port), *options]
    # SIGINT is its fast way out: clients are dropped, the files are whole
    with program(words, {**os.environ, "HOME": str(data)}, log, stop=signal.SIGINT) as process:
        _make_databases(process, password, port, log)
        yield port


def _make(data: Path, password: str, user: pwd.struct_passwd | None) -> None:
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    secret = data.with_name(".postgres-password")
    write_private(secret, password)
    try:
        if user is not None:
            for path in (data, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        asks = ["--auth=scram-sha-256", f"--pwfile={secret}", "--username=postgres", "--encoding=UTF8"]
        env = {**os.environ, "HOME": str(data)}
        words = [*_as(user), "initdb", "-D", str(data), *asks]
        done = subprocess.run(words, capture_output=True, text=True, cwd="/", env=env)
    finally:
        secret.unlink()
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RegistryError(f"Postgres could not be made in {data}: {said}")


def _make_databases(process: subprocess.Popen[bytes], password: str, port: int, log: Path) -> None:
    """Wait until Postgres answers, and make the databases it lacks."""
    import psycopg2  # type: ignore[import-untyped]

    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            there = psycopg2.connect(host=LOOPBACK, port=port, user="postgres", password=password, dbname="postgres")
            break
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RegistryError(f"Postgres does not start: {last_words(log)}; see {log}") from None
            time.sleep(0.1)
    try:
        there.autocommit = True
        with there.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            known = {row[0] for row in cursor.fetchall()}
            for name in NAMES:
                if name not in known:
                    cursor.execute(f"CREATE DATABASE {name}")
    finally:
        there.close()


def _is_known(number: int) -> bool:
    try:
        return bool(pwd.getpwuid(number))
    except KeyError:
        return False


def _user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _as(user: pwd.struct_passwd | None, dies: signal.Signals | None = None) -> list[str]:
    """Words before a command that run it as another user; a new user forgets what it gets when its parent dies."""
    if user is None:
        return []
    after = ["--pdeathsig", dies.name.removeprefix("SIG")] if dies else []
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *after]
