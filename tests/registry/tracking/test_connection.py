"""The embedded store is whole, whenever the process that made it died."""

import sqlite3
from pathlib import Path

from registry.tracking.connection import connect


def test_a_store_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as half:
        half.execute("CREATE TABLE spans (id INTEGER)")
    (tmp_path / ".mlflow.db.unfinished").touch()
    connection = connect(None, tmp_path, "splatsweep")
    run = connection.client.create_run(connection.experiment_id)
    assert not (tmp_path / ".mlflow.db.unfinished").exists()
    again = connect(None, tmp_path, "splatsweep")
    assert again.client.get_run(run.info.run_id).info.experiment_id == connection.experiment_id
