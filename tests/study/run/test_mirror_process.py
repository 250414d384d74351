"""The mirror as a process: killed, left alone by its driver, two of them, a server that does not answer."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agreement import assert_agreement
from fake_plans import MakePlan
from inline_driver import PowerCut, run_inline

from registry.tracking.cursor import read_cursor
from registry.tracking.names import STUDY_RUN
from registry.tracking.run_log import RunLog, open_run_log
from study.engine.ledger import Ledger, open_ledger
from study.engine.trial_manager import TrialManager
from study.record.config_file import ConfigFile, config_path
from study.reports.status import read_status
from study.run.driver import StudyPlan
from study.run.mirror_process import MirrorProcess, behind, write_down
from study.run.study_source import Ending

sys.path.append(str(Path(__file__).parents[2] / "registry"))

from http_server import MlflowServer, Wire


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLog]:
    """An embedded store."""
    with open_run_log(None, tmp_path_factory.mktemp("home")) as opened:
        yield opened


def ran(plan: StudyPlan) -> Ledger:
    """The ledger of a study that ran to its end without MLflow."""
    run_inline(plan, callbacks=[ConfigFile(plan.folder, plan.space)])
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    ending = Ending(invocation=0, status="FINISHED", outcome="COMPLETE", reason="done", at=1_800_000_000_000)
    ledger.set_attr("ending", ending.model_dump(mode="json"))
    return ledger


def until(condition: object, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_one_that_is_killed_is_started_again_and_two_do_not_tell_twice(make_plan: MakePlan, log: RunLog) -> None:
    plan, said = make_plan(trials=4), list[str]()
    ledger = ran(plan)
    assert behind(ledger, log)
    mirror = MirrorProcess(log, ledger, said.append)
    other = MirrorProcess(log, ledger, said.append)  # of a driver that was killed just now
    time.sleep(1.5)
    mirror._process.kill()
    until(lambda: mirror._process.poll() is not None)
    time.sleep(1.0)
    mirror.tick()
    assert mirror._process.poll() is None
    assert other.leave(90.0) == 0
    assert mirror.leave(90.0) == 0
    assert not any("have not reached" in text for text in said)
    assert not behind(ledger, log)
    assert_agreement(plan.folder, log)


@pytest.mark.slow
def test_one_that_is_left_alone_shows_what_is_interrupted(make_plan: MakePlan, log: RunLog) -> None:
    plan = make_plan(trials=2, name="left", base={"epochs": 6})

    def turn(manager: TrialManager) -> None:
        if manager.ledger.record(0).epoch >= 2:
            raise PowerCut

    with pytest.raises(PowerCut):
        run_inline(plan, each_turn=turn)
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    mirror = MirrorProcess(log, ledger, print)
    until(lambda: "0" in read_cursor(plan.folder).runs)
    assert log.client.get_run(read_cursor(plan.folder).runs["0"]).info.status == "RUNNING"
    mirror.close()
    assert mirror._process.wait(60) == 0
    for name in ("0", STUDY_RUN):
        assert log.client.get_run(read_cursor(plan.folder).runs[name]).info.status == "KILLED"


@pytest.mark.slow
def test_without_a_server_the_end_is_said_and_the_next_command_tells_all(
    make_plan: MakePlan, log: RunLog, tmp_path: Path
) -> None:
    plan, said = make_plan(trials=3, name="alone"), list[str]()
    ledger = ran(plan)
    nobody = open_run_log("http://127.0.0.1:9", tmp_path)
    left = MirrorProcess(nobody, ledger, said.append).leave(8.0)
    assert left > 20
    assert "no MLflow server answers at http://127.0.0.1:9" in said[0]
    assert f"{left} records have not reached MLflow" in said[-1]
    tracking = read_status(plan.folder).tracking
    assert (tracking.waiting, "no MLflow server answers" in tracking.trouble) == (left, True)
    assert behind(ledger, nobody)
    assert MirrorProcess(log, ledger, print).leave(90.0) == 0
    assert_agreement(plan.folder, log)
    assert read_status(plan.folder).tracking.waiting == 0


def test_what_the_mirror_cannot_work_out_is_written_once(make_plan: MakePlan) -> None:
    plan = make_plan(trials=2)
    run_inline(plan)  # by a version that wrote no settings
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    configs = ConfigFile(plan.folder, plan.space)
    for _ in range(2):
        write_down(ledger, configs, plan.space.source)
    for record in ledger.records():
        settings = json.loads(config_path(plan.folder, record.number).read_text())
        assert settings["quality"] == (record.values or {})["quality"]
    assert (plan.folder / "space.yaml").read_text() == plan.space.source.read_text()
    config_path(plan.folder, 0).write_text("mine")
    write_down(ledger, configs, plan.space.source)
    assert config_path(plan.folder, 0).read_text() == "mine"


@pytest.mark.slow
def test_a_file_over_a_proxys_limit_is_said_at_the_end_and_sent_by_the_next_command(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    server = MlflowServer(tmp_path)
    server.start()
    server.wait()
    wire = Wire(server.address)
    try:
        plan, said = make_plan(trials=2, name="limited"), list[str]()
        ledger = ran(plan)
        proxied = open_run_log(wire.address, tmp_path / "home")
        wire.limit = 4_000  # more than any other request, less than the report of what was tried
        (plan.folder / "report.html").write_text("x" * 50_000)
        assert MirrorProcess(proxied, ledger, said.append).leave(90.0) == 0
        assert "MLflow has not taken 1 files; the latest: run study, report.html: report.html (50.0 kB)" in said[-1]
        assert behind(ledger, proxied)
        assert read_status(plan.folder).tracking.files == 1
        assert MirrorProcess(proxied, ledger, said.append).leave(90.0) == 0
        assert said[-1] == said[-2]
        wire.limit = 0
        assert MirrorProcess(proxied, ledger, said.append).leave(90.0) == 0
        assert not behind(ledger, proxied)
        assert said[-1] == said[-2]
        assert_agreement(plan.folder, proxied)
    finally:
        wire.close()
        server.kill()
