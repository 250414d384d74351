"""Addresses as people write them: refused in one line that proposes what can be meant, before anything is asked."""

import time
from pathlib import Path

import pytest
from http_server import free_port

from registry.tracking.address import checked_address
from registry.tracking.run_log import open_run_log
from ssl_core.errors import MissingDependencyError, RegistryError


@pytest.mark.parametrize(
    ("written", "proposed"),
    [
        ("mlflow.company.com:5000", "write http://mlflow.company.com:5000"),
        ("mlflow.company.com", "write http://mlflow.company.com"),
        ("localhost:5000", "write http://localhost:5000"),
        ("10.0.0.5:5000/mlflow", "write http://10.0.0.5:5000/mlflow"),
        ("[::1]:5000", "write http://[::1]:5000"),
        ("http:/localhost:5000", "write http://localhost:5000"),
        ("ann:secret@mlflow:5000", "write http://mlflow:5000"),
        ("http://:5000", "write http://host:5000"),
        ("http://host:port", "write http://host:5000"),
        ("http://host:5000/#/experiments/1?x=2", "write http://host:5000"),
        ("htp://host:5000", "MLflow knows no 'htp' addresses"),
        ("postgres://ann:secret@db/mlflow", "write postgresql://…"),
        ("sqlite://mlflow.db", "no address of a database"),
        ("./mlruns", "is a folder: MLflow's file store"),
        ("mlruns", "is a folder: MLflow's file store"),
        ("/srv/mlruns", "is a folder: MLflow's file store"),
        ("file:///srv/mlruns", "is a folder: MLflow's file store"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_proposal(
    written: str, proposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(RegistryError) as caught:
        open_run_log(written, tmp_path / "home")
    text = str(caught.value)
    assert proposed in text
    assert "MLFLOW_TRACKING_URI" in text
    assert "\n" not in text
    assert "secret" not in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "written",
    [
        None, "", "http://localhost:5000", "https://ann:secret@mlflow.company.com/prefix/", "http://[::1]:5000",
        "databricks", "databricks://profile", "sqlite:////srv/mlflow.db",
        "postgresql+psycopg2://db/mlflow?sslmode=require",
    ],
)  # fmt: skip
def test_what_mlflow_takes_is_taken(written: str | None) -> None:
    assert checked_address(written) == (written or None)


def test_a_database_gets_the_driver_that_is_installed() -> None:
    assert checked_address("postgresql://ann:secret@db/mlflow") in (
        "postgresql://ann:secret@db/mlflow", "postgresql+psycopg2://ann:secret@db/mlflow",
    )  # fmt: skip


def test_a_database_whose_driver_is_missing_names_what_to_install() -> None:
    with pytest.raises(MissingDependencyError, match=r"needs the library 'MySQLdb'.*; `pip install pymysql`") as caught:
        checked_address("mysql://ann:secret@db/mlflow")
    assert "secret" not in str(caught.value)


def test_a_dead_database_is_said_soon_and_without_its_password(tmp_path: Path) -> None:
    began = time.monotonic()
    dead = f"postgresql://ann:secret@127.0.0.1:{free_port()}/mlflow"
    with pytest.raises(RegistryError, match=r"the database at postgresql\S*://127\.0\.0\.1") as caught:
        open_run_log(dead, tmp_path).client.search_experiments()
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 30, "MLflow alone tries for 100 s"


def test_a_database_of_ones_own_keeps_its_artifacts_in_the_home_and_none_where_one_stands(
    tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "own.db").write_bytes(migrated.read_bytes())
    with open_run_log(f"sqlite:///{tmp_path}/own.db", tmp_path / "home") as log:
        log.log_text(log.start_run("run", {}, {}), "text", "note.txt")
    assert not list((tmp_path / "cwd").iterdir())
    assert len(list((tmp_path / "home" / "mlartifacts").rglob("note.txt"))) == 1
