"""The run log on a real MLflow store: what is asked is answered."""

import threading
import time
from pathlib import Path

import pytest

from registry.tracking.run_log import RunLog, open_run_log
from ssl_core.errors import RegistryError, StorageError


def test_a_run_is_nested_and_takes_files(log: RunLog, tmp_path: Path):
    parent = log.start_run("parent", {"note": "t" * 9000}, {"long": "x" * 7000} | {f"p{i}": i for i in range(150)})
    child = log.start_nested(parent, "child", {"note": "n"}, {"a.b": 0.1, "features": ["xyz"], "odd key (%)": 1})
    file = tmp_path / "curve.txt"
    file.write_text("curve")
    log.log_file(child, file)
    log.log_text(child, "{}", "config/resolved.json")
    log.finish(child, "FINISHED")
    run = log.client.get_run(child)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params == {"a.b": "0.1", "features": "['xyz']", "odd key ___": "1"}
    assert {item.path for item in log.client.list_artifacts(child)} == {"curve.txt", "config"}
    above = log.client.get_run(parent).data
    assert len(above.params) == 151
    assert "7000 characters, sha256" in above.params["long"]
    assert "9000 characters" in above.tags["note"]


def test_two_openings_at_once_share_one_experiment(tmp_path: Path, home: Path):
    found: list[str] = []

    def opening() -> None:
        with open_run_log(None, home) as log:
            found.append(log.connection.experiment_id)

    threads = [threading.Thread(target=opening) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_no_server_is_one_clear_error_within_seconds(tmp_path: Path):
    start = time.perf_counter()
    with pytest.raises(RegistryError, match="MLFLOW_TRACKING_URI") as caught:
        open_run_log("http://127.0.0.1:9", tmp_path).client.search_experiments()
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 15


def test_a_home_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="SPLATSWEEP_HOME"):
        open_run_log(None, tmp_path / "file" / "home").client.search_experiments()
