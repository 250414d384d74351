"""A cluster that does not answer is said soon, whatever the form of its address."""

import sys
import time
from pathlib import Path

import pytest

from ssl_core.errors import StudyError
from study.cluster import cluster

sys.path.append(str(Path(__file__).parents[2] / "registry"))

from http_server import free_port


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Ray of anybody's is found, and nobody is waited for as long as a person would."""
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


def joining(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said before a study joins there; Ray itself, which other tests of this process use, is not asked."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(StudyError) as caught:
        cluster.check_cluster(address)
    assert time.monotonic() - began < 20
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_dead_client_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"ray://127.0.0.1:{free_port()}"
    assert f"no Ray cluster answers at RAY_ADDRESS={address}; start one" in joining(address, monkeypatch)


def test_auto_without_a_cluster_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ray._private import services

    monkeypatch.setattr(services, "find_gcs_addresses", set)  # somebody's Ray may run on this machine
    assert "no Ray cluster runs on this machine" in joining("auto", monkeypatch)
    gone = f"127.0.0.1:{free_port()}"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)  # what `ray start` leaves, and a power cut
    assert "no Ray cluster answers at RAY_ADDRESS=auto" in joining("auto", monkeypatch)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://head/ray"])
def test_a_dashboard_is_no_cluster_to_join(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = joining(address, monkeypatch)
    assert "is the address of a dashboard" in text
    assert f"RAY_API_SERVER_ADDRESS={address} splatsweep submit" in text
