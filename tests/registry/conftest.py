"""One migrated MLflow database per session (migrating takes seconds), copied for each test; small bundles."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_bundles import make_bundle

from registry.tracking.run_log import RunLog, open_run_log
from registry.versions.records import Lineage
from registry.versions.store import EncoderStore


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with MLflow's tables and nothing else."""
    home = tmp_path_factory.mktemp("migrated")
    assert open_run_log(None, home, experiment="only-for-tables").connection.experiment_id
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, migrated: Path) -> Path:
    """A home folder with a migrated, empty store."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copyfile(migrated, folder / "mlflow.db")
    return folder


@pytest.fixture
def log(home: Path) -> Iterator[RunLog]:
    """A run log on the embedded store."""
    with open_run_log(None, home) as opened:
        yield opened


@pytest.fixture
def store(log: RunLog) -> EncoderStore:
    """An encoder store on the same."""
    return EncoderStore(log)


@pytest.fixture
def trial(log: RunLog) -> str:
    """Run id of a trial in a study."""
    return log.start_nested(log.start_run("a-study", {}, {}), "trial-004", {}, {"lr": 0.1})


@pytest.fixture
def lineage(trial: str) -> Lineage:
    """Of that trial."""
    return Lineage(
        study="a-study",
        trial=4,
        run_id=trial,
        seed=7,
        recipe="cross_modal",
        config_digest="c0ffee",
        pack_digest="feed",
    )


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three different point encoders; tests copy what they change."""
    root = tmp_path_factory.mktemp("bundles")
    return [make_bundle(root / f"points-{seed}", seed) for seed in range(3)]
