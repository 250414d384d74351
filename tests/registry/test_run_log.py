"""The run log on a real MLflow store: what is asked is answered, what is told by a study arrives."""

import math
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
    log.log_file(child, file, "pictures")
    log.log_text(child, "{}", "config/resolved.json")
    log.finish(child, "FINISHED")
    run = log.client.get_run(child)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params == {"a.b": "0.1", "features": "['xyz']", "odd key ___": "1"}
    assert {item.path for item in log.client.list_artifacts(child)} == {"pictures", "config"}
    above = log.client.get_run(parent).data
    assert len(above.params) == 151
    assert "7000 characters, sha256" in above.params["long"]
    assert "9000 characters" in above.tags["note"]


@pytest.mark.slow
def test_a_study_tells_the_embedded_store(log: RunLog, tmp_path: Path):
    study = log.study_log(tmp_path / "study", "key", "it's mine")
    study.start(None, "it's mine", {"lineage": "x"}, {"trials": 3})
    study.start(7, "trial-007", {"seed": "1"}, {"lr": 0.1})
    for epoch in (1, 2, 2, 1, 3):  # an epoch is told once
        study.points(7, epoch, {"loss/total": 1.0 / epoch, "nan": math.nan})
    file = tmp_path / "crash.txt"
    file.write_text("boom")
    study.file(7, file)
    file.unlink()
    study.finish(7, "FINISHED", {"outcome": "COMPLETE"}, {"objective": 0.5}, 2)
    assert study.flush(120, print) == 0
    assert study.known(7).step == 3
    ids, lost = study.runs()
    study.close()
    assert lost == set()
    run = log.client.get_run(ids["7"])
    assert run.data.tags["mlflow.parentRunId"] == ids["study"]
    assert (run.info.status, run.data.params) == ("FINISHED", {"lr": "0.1"})
    history = log.client.get_metric_history(ids["7"], "loss/total")
    assert [(point.step, point.value) for point in history] == [(e, 1.0 / e) for e in (1, 2, 3)]
    assert [item.path for item in log.client.list_artifacts(ids["7"])] == ["crash.txt"]
    # opened again, by another process as it were: the same runs
    again = log.study_log(tmp_path / "study", "key", "it's mine")
    again.start(7, "trial-007", {"resumed": "yes"}, {"lr": 0.1})
    again.points(7, 3, {"loss/total": 9.0})
    again.points(7, 4, {"loss/total": 0.25})
    assert again.flush(120, print) == 0
    assert again.runs()[0] == ids
    again.close()
    run = log.client.get_run(ids["7"])
    assert (run.info.status, run.data.tags["resumed"]) == ("RUNNING", "yes")
    assert len(log.client.get_metric_history(ids["7"], "loss/total")) == 4


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
