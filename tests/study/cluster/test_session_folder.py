"""Ray is given a folder whose sockets' paths fit, wherever temporary files are to go."""

import os
from pathlib import Path

import pytest

from study.cluster.session_folder import LONGEST, choose_session_folder


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever the test sets
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_rays_own_choice_stands_where_it_will_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_session_folder()
    assert "RAY_TMPDIR" not in os.environ
    monkeypatch.setenv(name, "/var/tmp")
    choose_session_folder()
    assert os.environ.get("RAY_TMPDIR") == ("/var/tmp" if name == "RAY_TMPDIR" else None)


@pytest.mark.parametrize("name", ["long" * 20, "/proc/nowhere", "work%2Fspace"])
@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_another_where_it_will_not(name: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, str(tmp_path / name))
    choose_session_folder()
    found = os.environ["RAY_TMPDIR"]
    assert found != str(tmp_path / name)
    assert len(found) <= LONGEST
    assert os.access(Path(found, "ray"), os.W_OK)
