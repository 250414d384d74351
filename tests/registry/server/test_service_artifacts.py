"""Artifacts in a bucket: listed, read and put back over a real S3 API, as from a folder."""

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "study"))  # the S3 API

from fake_store import s3_server

from registry.server.backup import artifact_files, artifacts_replaced
from ssl_core.errors import StorageError

FILES = {"1/run/artifacts/a.txt": b"a", "1/models/m-1/artifacts/folder/b": b"b" * 100_000}


def filled(folder: Path) -> Path:
    for path, data in FILES.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def contents(place: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        return {path: file.read_bytes() for path, file in artifact_files(place, Path(scratch))}


def test_a_bucket_gives_back_what_a_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = filled(tmp_path / "staged")
    with s3_server() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        with artifacts_replaced(staged, "s3://packs/mlflow"):
            pass
        assert contents("s3://packs/mlflow") == FILES
        assert set(contents("s3://packs")) == {f"mlflow/{path}" for path in FILES}
        with pytest.raises(StorageError, match="s3://nowhere"):
            contents("s3://nowhere/x")


def test_a_folder_gets_its_old_files_back_if_the_rows_do_not_fit(tmp_path: Path) -> None:
    old = tmp_path / "artifacts"
    old.mkdir()
    (old / "old").write_bytes(b"old")
    (old / "link").symlink_to("/etc/passwd")
    with pytest.raises(ZeroDivisionError), artifacts_replaced(filled(tmp_path / "staged"), str(old)):
        assert 1 / (contents(str(old)) != FILES)
    assert contents(str(old)) == {"old": b"old"}, "links are no artifacts"
    with artifacts_replaced(filled(tmp_path / "staged"), str(old)):
        pass
    assert contents(str(old)) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]
