"""Addresses of packs, and what a person reads when a store refuses, against a real S3 API served on loopback."""

import socket

import pytest
from fake_store import S3Server, s3_server

from registry.tracking.network import PROXY_VARIABLES
from ssl_core.errors import ConfigError, MissingDependencyError, PackError, StorageError
from study.datasets import object_store
from study.datasets.object_store import is_uri
from study.datasets.pack_storage import open_data, place_name, push_pack
from tests.certificates import Authority
from tests.registry.http_server import Wire


@pytest.fixture(scope="module")
def server():
    with s3_server() as served:
        yield served


def use(server: S3Server, monkeypatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def test_errors_name_bucket_endpoint_and_remedy(server, monkeypatch) -> None:
    use(server, monkeypatch)
    with pytest.raises(StorageError, match=rf"no bucket 'nowhere' at {server.url}"):
        open_data("s3://nowhere/pack")
    with pytest.raises(PackError, match="s3://packs/nothing: is not a pack"):
        open_data("s3://packs/nothing")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # goes before AWS_ENDPOINT_URL
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:9 does not answer .*AWS_ENDPOINT_URL"):
        open_data("s3://packs/pack")


def test_proxies_and_authorities_are_those_of_the_environment(server, monkeypatch, tmp_path) -> None:
    use(server, monkeypatch)
    for name in (*PROXY_VARIABLES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy = Wire(server.url)
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    with pytest.raises(StorageError, match=f"no bucket 'nowhere' at {server.url};"):
        open_data("s3://nowhere/pack")
    assert proxy.requests == [], "the store is on loopback"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example:8333")
    with pytest.raises(StorageError, match=rf"at http://store\.example:8333 through HTTP_PROXY={proxy.address};"):
        open_data("s3://nowhere/pack")
    assert proxy.requests
    monkeypatch.setenv("HTTP_PROXY", "http://ann:hunter2@127.0.0.1:1")
    says = r"through HTTP_PROXY=http://127\.0\.0\.1:1 does not answer .*; add store\.example to NO_PROXY"
    with pytest.raises(StorageError, match=says):
        open_data("s3://packs/pack")
    authority = Authority(tmp_path)
    safe = Wire(server.url, authority.issue("store", "127.0.0.1"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", safe.address)
    with pytest.raises(StorageError, match=rf"no secure connection to {safe.address} .*; set AWS_CA_BUNDLE"):
        open_data("s3://nowhere/pack")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
    with pytest.raises(StorageError, match=f"no bucket 'nowhere' at {safe.address};"):
        open_data("s3://nowhere/pack")
    for wire in (proxy, safe):
        wire.close()


def test_wrong_credentials(monkeypatch) -> None:
    with s3_server(INITIAL_NO_AUTH_ACTION_COUNT="1") as guarded:
        use(guarded, monkeypatch)
        with pytest.raises(StorageError, match=r"access denied at http.*AWS_ACCESS_KEY_ID"):
            open_data("s3://packs/pack")


@pytest.mark.slow
def test_a_store_that_says_nothing_is_given_up(monkeypatch) -> None:
    """Connections are taken and nothing is ever sent."""
    monkeypatch.setattr(object_store, "STALLED_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        with pytest.raises(StorageError, match="does not answer"):
            open_data("s3://packs/pack")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://AKIA:hunter2@packs/x", "holds credentials"),
        ("s3://packs/../x", r"'\.\.' are not allowed"),
        ("file:///a/%2e%2e/b", r"'\.\.' are not allowed"),
        ("s3://packs", "names no folder"),
        ("s3:///x", "names no folder"),
        ("file:///", "names no folder"),
        ("file://elsewhere/x", "host 'elsewhere'"),
        ("s3://packs/x?endpoint_override=evil", "environment variables"),
        ("s3://packs/x\n", "control characters"),
        ("ftp://packs/x", "unknown kind of address 'ftp'"),
    ],
)
def test_bad_addresses(text, message) -> None:
    assert is_uri(text)
    with pytest.raises(ConfigError, match=message) as raised:
        open_data(text)
    assert "hunter2" not in str(raised.value)


def test_addresses_are_told_from_paths() -> None:
    assert not is_uri("runs/packs/mine")
    assert not is_uri("C:/packs")
    assert place_name("s3://bucket/packs/mine/") == place_name("runs/packs/mine") == "mine"
    with pytest.raises(ConfigError, match="is a path"):
        push_pack(None, "runs/packs/mine")  # type: ignore[arg-type]


def test_other_stores_need_their_driver(monkeypatch) -> None:
    import fsspec

    def absent(name: str):
        raise ImportError(name)

    monkeypatch.setattr(fsspec, "filesystem", absent)
    with pytest.raises(MissingDependencyError, match="gcsfs"):
        open_data("gs://bucket/pack")
