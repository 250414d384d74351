"""The run log on a real MLflow store: nesting, idempotence, order, and a server that does not answer."""

import math
import threading
import time
from pathlib import Path

import pytest

from registry.run_log import RunLog, open_run_log
from registry.writer import Write, Writer
from ssl_core.errors import RegistryError, StorageError


def test_a_trial_is_nested_and_reported_by_epoch(log: RunLog, tmp_path: Path):
    study = log.start_study("s", {"splatsweep.space": "x"}, {"trials": 3})
    trial = log.start_trial(study, 0, {"a.b": 0.1, "features": ["xyz"]}, {"note": "n"})
    for epoch in range(5):
        log.log_epoch(trial, epoch, {"loss/total": 1.0 / (epoch + 1), "val acc": 0.1 * epoch})
    file = tmp_path / "curve.txt"
    file.write_text("curve")
    log.log_file(trial, file, "pictures")
    log.log_text(trial, "{}", "config/resolved.json")
    log.finish(trial, "FINISHED", {"outcome": "COMPLETE"})
    run = log.client.get_run(trial)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == study
    assert run.data.tags["outcome"] == "COMPLETE"
    assert run.data.params == {"a.b": "0.1", "features": "['xyz']"}
    history = log.client.get_metric_history(trial, "loss/total")
    assert [(point.step, point.value) for point in history] == [(e, 1.0 / (e + 1)) for e in range(5)]
    assert {item.path for item in log.client.list_artifacts(trial)} == {"pictures", "config"}


def test_starting_again_continues_the_same_runs(log: RunLog, home: Path):
    study = log.start_study("it's mine", {}, {"trials": 3})
    trial = log.start_trial(study, 7, {"lr": 0.1}, {})
    other = log.start_trial(study, 8, {"lr": 0.1}, {})
    log.finish(trial, "KILLED")
    log.finish(study, "KILLED")
    log.close()
    with open_run_log(None, home) as again:
        assert again.find_study("it's mine") == study
        assert again.find_study("its mine") is None
        assert again.start_study("it's mine", {}, {"trials": 5}) == study
        assert again.start_trial(study, 7, {"lr": 0.1}, {"resumed": "yes"}) == trial
        assert again.client.get_run(trial).data.tags["resumed"] == "yes"
        assert set(again.running(study)) == {trial, other}
        assert len(again.client.search_runs([again.connection.experiment_id])) == 3
        another = again.start_study("other", {}, {})
        assert again.start_trial(another, 7, {}, {}) not in (trial, other)


def test_running_names_what_was_left_behind(log: RunLog):
    study = log.start_study("s", {}, {})
    trials = [log.start_trial(study, number, {}, {}) for number in range(3)]
    log.finish(trials[1], "FAILED")
    assert set(log.running(study)) == {trials[0], trials[2]}
    for trial in trials:
        log.finish(trial, "KILLED")
    assert log.running(study) == []


def test_values_that_are_not_finite(log: RunLog):
    trial = log.start_trial(log.start_study("s", {}, {}), 0, {}, {})
    log.log_epoch(trial, 3, {"nan": math.nan, "inf": math.inf, "fine": 1.0})
    assert log.flush()
    run = log.client.get_run(trial)
    assert math.isnan(run.data.metrics["nan"])
    assert "inf" not in run.data.metrics
    assert run.data.tags["splatsweep.infinite.inf"] == "epoch 3"
    assert run.data.metrics["fine"] == 1.0


def test_long_and_odd_texts_are_kept_recognisable(log: RunLog):
    params = {"long": "x" * 7000, "other": "x" * 7000 + "y", "odd key (%)": 1} | {f"p{i}": i for i in range(150)}
    run_id = log.start_study("s", {"big": "t" * 9000}, params)
    run = log.client.get_run(run_id)
    assert len(run.data.params) == 153
    assert "7000 characters, sha256" in run.data.params["long"]
    assert run.data.params["long"] != run.data.params["other"]
    assert run.data.params["odd key ___"] == "1"
    assert "9000 characters" in run.data.tags["big"]


def test_reports_from_many_threads_arrive(log: RunLog):
    study = log.start_study("s", {}, {})
    trials = [log.start_trial(study, number, {}, {}) for number in range(4)]

    def report(trial: str) -> None:
        for epoch in range(10):
            log.log_epoch(trial, epoch, {"m": epoch})

    threads = [threading.Thread(target=report, args=(trial,)) for trial in trials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.flush()
    assert all(len(log.client.get_metric_history(trial, "m")) == 10 for trial in trials)


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


class Wire:
    """A client between the writer and a real one: can be slow, or cut."""

    def __init__(self, log: RunLog) -> None:
        self.client, self.cut, self.pause = log.client, False, 0.0

    def log_batch(self, *args: object, **kwargs: object) -> None:
        time.sleep(self.pause)
        if self.cut:
            raise ConnectionError("nobody there")
        self.client.log_batch(*args, **kwargs)

    def set_terminated(self, *args: object, **kwargs: object) -> None:
        self.log_batch(args[0])
        self.client.set_terminated(*args, **kwargs)


def test_a_slow_server_does_not_stall_the_caller(log: RunLog, tmp_path: Path):
    trial = log.start_trial(log.start_study("s", {}, {}), 0, {}, {})
    wire = Wire(log)
    wire.pause = 0.2
    slow = RunLog(log.connection, Writer(wire, tmp_path / "unsent.jsonl"))
    start = time.perf_counter()
    for epoch in range(5):
        slow.log_epoch(trial, epoch, {"m": epoch})
    assert time.perf_counter() - start < 0.1
    assert slow.close()
    assert len(log.client.get_metric_history(trial, "m")) == 5


def test_reports_survive_a_dead_server_and_the_end_of_the_program(log: RunLog, tmp_path: Path):
    trial = log.start_trial(log.start_study("s", {}, {}), 0, {}, {})
    wire, unsent = Wire(log), tmp_path / "unsent.jsonl"
    wire.cut = True
    dead = RunLog(log.connection, Writer(wire, unsent))
    start = time.perf_counter()
    dead.log_epoch(trial, 0, {"m": 0.5, "nan": math.nan})
    assert not dead.flush(0.3)
    dead.finish(trial, "FINISHED", {"why": "done"})  # known not to answer: does not wait
    assert time.perf_counter() - start < 2
    assert not dead.close(0.1)
    assert unsent.exists()
    assert log.client.get_run(trial).info.status == "RUNNING"
    wire.cut = False
    alive = RunLog(log.connection, Writer(wire, unsent))
    assert alive.close()
    assert not unsent.exists()
    run = log.client.get_run(trial)
    assert (run.info.status, run.data.metrics["m"], run.data.tags["why"]) == ("FINISHED", 0.5, "done")


def test_the_writer_recovers_by_itself_and_keeps_the_order(log: RunLog, tmp_path: Path):
    trial = log.start_trial(log.start_study("s", {}, {}), 0, {}, {})
    wire = Wire(log)
    wire.cut = True
    writer = Writer(wire, tmp_path / "unsent.jsonl")
    for epoch in range(3):
        writer.put(Write(trial, epoch + 1, epoch, {"m": float(epoch)}, {"last": str(epoch)}))
    time.sleep(0.2)
    wire.cut = False
    assert writer.close(5)
    assert log.client.get_run(trial).data.tags["last"] == "2"


def test_a_report_that_can_never_be_stored_does_not_block_the_rest(log: RunLog, tmp_path: Path):
    trial = log.start_trial(log.start_study("s", {}, {}), 0, {}, {})
    writer = Writer(log.client, tmp_path / "unsent.jsonl")
    writer.put(Write("0" * 32, 1, 0, {"m": 1.0}))
    writer.put(Write(trial, 1, 0, {"m": 1.0}))
    assert writer.close(10)
    assert writer.refused == 1
    assert log.client.get_run(trial).data.metrics["m"] == 1.0


def test_no_server_is_one_clear_error_within_seconds(tmp_path: Path):
    start = time.perf_counter()
    with pytest.raises(RegistryError, match="MLFLOW_TRACKING_URI") as caught:
        open_run_log("http://127.0.0.1:9", tmp_path)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 15


def test_a_home_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="SPLATSWEEP_HOME"):
        open_run_log(None, tmp_path / "file" / "home")
