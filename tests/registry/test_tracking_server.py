"""A study's log and a real MLflow server over HTTP that is late, killed, slow, broken, or emptied by somebody."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_server import MlflowServer, Wire

from registry.tracking.outbox import read_sent
from registry.tracking.run_log import RunLog, open_run_log
from registry.tracking.study_log import StudyLog

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LONG = 400.0
Expected = dict[int, int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("server"))
    made.start()
    made.wait()
    yield made
    made.kill()


@pytest.fixture
def wire(server: MlflowServer) -> Iterator[Wire]:
    made = Wire(server.address)
    yield made
    made.close()


def opened(tmp_path: Path, address: str, name: str) -> tuple[RunLog, StudyLog]:
    log = open_run_log(address, tmp_path / "home", experiment=name)
    return log, log.study_log(tmp_path / "study", f"key-{name}", name)


def wait_for_trouble(study: StudyLog, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in study.trouble():
        assert time.monotonic() < deadline, study.trouble()
        time.sleep(0.1)


def arrived(study: StudyLog) -> bool:
    deadline = time.monotonic() + LONG
    while study.flush(LONG, print) > 0:  # it leaves a server alone that takes long to start
        assert time.monotonic() < deadline, study.trouble()
    return True


def tell(study: StudyLog, trial: int, first: int, last: int, *, end: bool = False) -> None:
    if first == 1:
        study.start(trial, f"trial-{trial:03d}", {"note": "n"}, {"lr": 0.1 * (trial + 1)})
        study.text(trial, "{}", "config.json")
    for epoch in range(first, last + 1):
        study.points(trial, epoch, {f"m{i}": float(epoch * i) for i in range(5)})
    if end:
        study.finish(trial, "FINISHED", {"why": "done"}, {"objective": float(last)}, last)


def assert_there(log: RunLog, study: StudyLog, expected: Expected) -> None:
    """One run per trial with every point once and in order, all ended."""
    client = log.client
    ids = study.runs()[0]
    found = client.search_runs([log.connection.experiment_id], "tags.`splatsweep.kind` = 'trial'")
    assert {run.info.run_id for run in found} == {ids[str(trial)] for trial in expected}
    assert len(client.search_runs([log.connection.experiment_id], "tags.`splatsweep.kind` = 'study'")) == 1
    for trial, epochs in expected.items():
        run = client.get_run(ids[str(trial)])
        assert run.info.status == "FINISHED"
        assert run.data.tags["why"] == "done"
        assert run.data.tags["mlflow.parentRunId"] == ids["study"]
        assert run.data.params == {"lr": str(0.1 * (trial + 1))}
        for i in (0, 4):
            history = client.get_metric_history(run.info.run_id, f"m{i}")
            assert [(point.step, point.value) for point in history] == [(e, float(e * i)) for e in range(1, epochs + 1)]
        assert len(client.get_metric_history(run.info.run_id, "objective")) == 1
        assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["config.json"]


def test_a_server_that_is_late_is_killed_and_comes_back(tmp_path: Path) -> None:
    server = MlflowServer(tmp_path)
    log, study = opened(tmp_path, server.address, "late")
    study.start(None, "late", {}, {"trials": 3})
    tell(study, 0, 1, 20, end=True)
    assert study.flush(1.0, print) > 20
    wait_for_trouble(study, "no MLflow server answers")
    server.start()
    try:
        assert arrived(study)
        tell(study, 1, 1, 10)
        server.kill()
        tell(study, 1, 11, 30, end=True)
        assert study.flush(2.0, print) > 0
        study.close()  # the program ends, and another one opens the study
        server.start()
        log, study = opened(tmp_path, server.address, "late")
        tell(study, 2, 1, 5, end=True)
        assert arrived(study)
        assert_there(log, study, {0: 20, 1: 30, 2: 5})
    finally:
        study.close()
        server.kill()


def test_errors_lost_answers_and_a_slow_wire(tmp_path: Path, wire: Wire) -> None:
    wire.answers = [500, 503, 502, 429]
    log, study = opened(tmp_path, wire.address, "broken")
    study.start(None, "broken", {}, {"trials": 2})
    tell(study, 0, 1, 10)
    assert arrived(study)
    wire.lost_answers = 3
    tell(study, 1, 1, 40, end=True)
    tell(study, 0, 11, 12, end=True)
    assert arrived(study)
    wire.delay = 0.3
    tell(study, 2, 1, 200, end=True)
    assert arrived(study)
    wire.delay = 0.0
    assert_there(log, study, {0: 12, 1: 40, 2: 200})
    study.close()


def test_answers_lost_one_by_one_never_double_a_run(tmp_path: Path, wire: Wire) -> None:
    log, study = opened(tmp_path, wire.address, "lost")
    wire.lost_answers = 8  # every request is carried out, and the sender hears of none of the first
    study.start(None, "lost", {}, {})
    tell(study, 0, 1, 3, end=True)
    assert arrived(study)
    assert_there(log, study, {0: 3})
    study.close()


def test_an_experiment_that_somebody_deletes_is_restored(tmp_path: Path, server: MlflowServer) -> None:
    log, study = opened(tmp_path, server.address, "deleted")
    study.start(None, "deleted", {}, {})
    tell(study, 0, 1, 5)
    assert arrived(study)
    log.client.delete_experiment(log.connection.experiment_id)
    tell(study, 0, 6, 9, end=True)
    tell(study, 1, 1, 2, end=True)
    assert arrived(study)
    assert_there(log, study, {0: 9, 1: 2})
    # and one run alone
    log.client.delete_run(study.runs()[0]["1"])
    study.points(1, 3, {f"m{i}": float(3 * i) for i in range(5)})
    assert arrived(study)
    assert_there(log, study, {0: 9, 1: 3})
    study.close()


@pytest.mark.parametrize("status", [401, 403])
def test_no_access_names_the_remedy_and_keeps_everything(tmp_path: Path, wire: Wire, status: int) -> None:
    wire.answers = [status] * 50
    log, study = opened(tmp_path, wire.address, f"denied{status}")
    study.start(None, "denied", {}, {})
    tell(study, 0, 1, 3, end=True)
    wait_for_trouble(study, "MLFLOW_TRACKING_USERNAME")
    wire.answers = []
    assert arrived(study)
    assert_there(log, study, {0: 3})
    assert read_sent(study.folder).trouble == ""
    study.close()


def test_a_study_costs_few_requests(tmp_path: Path, wire: Wire) -> None:
    wire.answers = [503]  # so that all of it waits
    _, study = opened(tmp_path, wire.address, "few")
    study.start(None, "few", {}, {})
    for trial in range(4):
        tell(study, trial, 1, 50, end=True)
    assert arrived(study)
    batches = [request for request in wire.requests if request.endswith("runs/log-batch")]
    assert len(batches) == 4
    assert len(wire.requests) < 40
    study.close()
