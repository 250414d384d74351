"""Addresses of packs, and what a person reads when a store refuses, against a real S3 API served on loopback."""

import socket

import pytest
from fake_store import S3Server, s3_server

from ssl_core.errors import ConfigError, MissingDependencyError, PackError, StorageError
from study.datasets import object_store
from study.datasets.object_store import is_uri
from study.datasets.pack_storage import open_data, place_name, push_pack


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


def test_wrong_credentials(monkeypatch) -> None:
    with s3_server(INITIAL_NO_AUTH_ACTION_COUNT="1") as guarded:
        use(guarded, monkeypatch)
        with pytest.raises(StorageError, match=r"access denied at http.*AWS_ACCESS_KEY_ID"):
            open_data("s3://packs/pack")


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
