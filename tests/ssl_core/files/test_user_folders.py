"""The cache is where the user says, at home, or for a user without a home beside temporary files; so is the home."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from ssl_core.errors import StorageError
from ssl_core.files.user_folders import cache_folder, supply_folders


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPLATSWEEP_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_at_home(tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / ".cache" / "splatsweep"


def test_as_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("SPLATSWEEP_CACHE", "~/mine")  # as it may stand in .env
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
def test_where_the_home_cannot_be_written(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    found = cache_folder()
    assert found == tmp_path / f"splatsweep-{os.getuid()}"
    assert found.stat().st_mode & 0o777 == 0o700
    found.rmdir()
    found.touch()
    with pytest.raises(StorageError, match="or SPLATSWEEP_CACHE to a folder of yours"):
        cache_folder()


def test_what_is_missing_is_supplied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    supply_folders()
    assert os.environ["TMPDIR"] == os.environ["HOME"] == str(tmp_path), "what is there stays"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    supply_folders()
    assert os.environ["HOME"] == str(tmp_path / f"splatsweep-{os.getuid()}")
