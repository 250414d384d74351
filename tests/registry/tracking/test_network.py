"""Proxies and private authorities between us and MLflow: real sockets, real TLS, and the pages as they are started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from registry.pull import load
from registry.server.processes import free_port
from registry.server.users import Users, may_judge
from registry.tracking import connection
from registry.tracking.connection import connect
from registry.tracking.network import LOOPBACK_NAMES, PROXY_VARIABLES, keep_loopback_direct, proxy_of
from ssl_core.errors import RegistryError
from tests.certificates import Authority
from tests.registry.http_server import Wire

ROOT = Path(__file__).resolve().parents[3]
CLOSED = "http://ann:hunter2@127.0.0.1:1"
CERTIFICATES = (
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
OURS = ",".join(LOOPBACK_NAMES)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "no_proxy", "NO_PROXY", *CERTIFICATES):
        monkeypatch.setenv(name, "")  # set first, so that it is put back
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Wire]:
    """A proxy that writes down what it is asked for."""
    wire = Wire("http://127.0.0.1:9")
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def pages(proxy: Wire, migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`splatsweep ui` in a network with a proxy."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    home = tmp_path_factory.mktemp("home")
    shutil.copy(migrated, home / "mlflow.db")
    environment |= {"SPLATSWEEP_HOME": str(home), "HTTP_PROXY": proxy.address, "http_proxy": proxy.address}
    process = subprocess.Popen(
        [sys.executable, "-m", "study.commands.cli", "ui", "--port", str(port)],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "studies: " in line:
            break
    assert f"MLflow: http://127.0.0.1:{port}" in "".join(said)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(60)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def works(address: str, home: Path) -> None:
    opened = connect(address, home, "splatsweep")
    assert opened.client.create_run(opened.experiment_id).info.run_id


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {"NO_PROXY": OURS}),
        ({"NO_PROXY": "corp.example, 10.0.0.0/8"}, {"NO_PROXY": f"corp.example,10.0.0.0/8,{OURS}"}),
        ({"no_proxy": "localhost"}, {"no_proxy": "localhost,127.0.0.1,::1,[::1]"}),
        ({"no_proxy": "a,", "NO_PROXY": "b"}, {"no_proxy": f"a,{OURS}", "NO_PROXY": f"b,{OURS}"}),
        ({"no_proxy": "", "NO_PROXY": "b"}, {"no_proxy": f"b,{OURS}", "NO_PROXY": f"b,{OURS}"}),
        ({"NO_PROXY": "*"}, {"NO_PROXY": "*"}),
    ],
)
def test_loopback_joins_what_the_user_excludes(
    given: dict[str, str], made: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    keep_loopback_direct()
    assert {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ} == given, "no proxy"
    monkeypatch.setenv("https_proxy", CLOSED)
    for _ in range(2):
        keep_loopback_direct()
        assert {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ} == made


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_no_client_asks_loopback_through_a_proxy(variable: str, proxy: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    monkeypatch.setenv(variable, proxy.address)
    keep_loopback_direct()
    served = Wire("http://127.0.0.1:9")
    port = served.address.rpartition(":")[2]
    proxy.requests.clear()
    for host in ("127.0.0.1", "localhost"):
        served.answers += [200, 200, 200]
        assert requests.get(f"http://{host}:{port}/a", timeout=20).ok
        urllib.request.build_opener().open(f"http://{host}:{port}/b", timeout=20).close()
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).head_bucket(Bucket="c")
    assert len(served.requests) == 6
    assert proxy.requests == []
    assert proxy_of("http://[::1]:5000") is None
    served.close()


@pytest.mark.parametrize("address", ["http://mlflow.example:5000", "https://mlflow.example"])
def test_a_proxy_in_the_way_is_named(
    address: str, proxy: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{address.partition(':')[0]}_proxy"
    for name in (variable, variable.upper()):
        with monkeypatch.context() as patch:
            patch.setenv(name, CLOSED)
            with pytest.raises(RegistryError) as refused:
                connect(address, tmp_path, "splatsweep")
            assert str(refused.value) == (
                f"no MLflow server answers at {address} through {name}=http://127.0.0.1:1 (Connection refused); "
                f"add mlflow.example to NO_PROXY if it is reached without a proxy, or correct {name}"
            )
            patch.setenv(name, proxy.address)
            proxy.answers[:] = [502]
            with pytest.raises(RegistryError, match=rf"through {name}=\S+ \(.*502.*add mlflow\.example to NO_PROXY"):
                connect(address, tmp_path, "splatsweep")
            proxy.requests.clear()
            patch.setenv("NO_PROXY", "mlflow.example")
            with pytest.raises(RegistryError, match=r"mlflow\.example\S* \(.*correct MLFLOW_TRACKING_URI"):
                connect(address, tmp_path, "splatsweep")
            assert proxy.requests == []
    proxy.answers.clear()


def test_a_proxy_that_says_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(RegistryError, match=r"through all_proxy=http://127\.0\.0\.1:\d+ \(timed out\); add"):
            connect("http://mlflow.example", tmp_path, "splatsweep")


def test_the_pages_come_up_and_are_asked_directly(
    pages: str, proxy: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", CLOSED)
    works(pages, tmp_path)
    with pytest.raises(RegistryError, match="no registered encoder"):
        load("nobody@champion", tracking_uri=pages, home=tmp_path)
    assert may_judge(pages)
    assert proxy.requests == []


def test_a_private_authority_is_trusted_as_mlflow_trusts_it(
    pages: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(pages, authority.issue("server", "127.0.0.1"))
    with pytest.raises(RegistryError, match=r"no secure connection .* \(unable to get local issuer certificate\); set "
                       "MLFLOW_TRACKING_SERVER_CERT_PATH to a file"):  # fmt: skip
        connect(wire.address, tmp_path, "splatsweep")
    ours = str(authority.file)
    for name, value in zip(CERTIFICATES, (ours, "true", "", ours, ours), strict=True):
        if value:
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                works(wire.address, tmp_path)
                with pytest.raises(RegistryError, match="has no users"):
                    Users(wire.address).list()
    other = Authority(tmp_path / "other", "Other authority").file
    for name, value, says in (
        (CERTIFICATES[0], str(other), f"MLFLOW_TRACKING_SERVER_CERT_PATH={other} lacks the authority"),
        (CERTIFICATES[0], "/nowhere.pem", "there is no file MLFLOW_TRACKING_SERVER_CERT_PATH=/nowhere.pem"),
        (CERTIFICATES[2], "/nowhere.pem", "there is no file MLFLOW_TRACKING_CLIENT_CERT_PATH=/nowhere.pem"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(RegistryError, match=says):
                connect(wire.address, tmp_path, "splatsweep")
            with pytest.raises(RegistryError, match=says):
                Users(wire.address).list()
    monkeypatch.setenv(CERTIFICATES[0], ours)
    monkeypatch.setenv(CERTIFICATES[1], "true")
    with pytest.raises(RegistryError, match=r"only one of these|must not be set"):
        connect(wire.address, tmp_path, "splatsweep")
    wire.close()


def test_a_client_shows_its_certificate_where_the_server_asks(
    pages: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(pages, authority.issue("asking", "127.0.0.1"), clients=authority.file)
    monkeypatch.setenv(CERTIFICATES[0], str(authority.file))
    with pytest.raises(
        RegistryError, match=r"client's certificate, set MLFLOW_TRACKING_CLIENT_CERT_PATH|[Rr]eset|pipe"
    ):
        connect(wire.address, tmp_path, "splatsweep")
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(authority.issue("client")))
    works(wire.address, tmp_path)
    wire.close()


def test_what_is_wrong_with_a_certificate_is_said(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CERTIFICATES[0], str(authority.file))
    for certificate, says in (
        (authority.issue("elsewhere", "127.0.0.2"), "use a name that stands in the server's certificate"),
        (authority.issue("ended", "127.0.0.1", days=-1), r"has expired\); renew the server's certificate"),
    ):
        wire = Wire("http://127.0.0.1:9", certificate)
        with pytest.raises(RegistryError, match=says):
            connect(wire.address, tmp_path, "splatsweep")
        wire.close()
    plain = Wire("http://127.0.0.1:9")
    with pytest.raises(RegistryError, match="nobody speaks TLS at that port: write http://"):
        connect(plain.address.replace("http", "https"), tmp_path, "splatsweep")
    plain.close()
