"""What people see: the progress line, the table, the report; and what a cluster can hold."""

import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from fake_plans import MakePlan
from inline_driver import run_inline
from rich.console import Console, RenderableType

from ssl_core.errors import StudyError
from study.analysis.as_optuna import as_optuna
from study.analysis.words import clock_text, values_text
from study.cluster.cluster import Resources, slots, trial_resources
from study.cluster.driver_lock import hold_study
from study.engine.ledger import read_ledger
from study.record.metrics_file import MetricsFile, metrics_path, read_metrics
from study.record.trial_record import TrialRecord
from study.reports.importances import importances
from study.reports.status import StudyStatus, TrackingStatus, read_status
from study.reports.study_report import write_report
from study.reports.study_text import format_status
from study.spec.outcome import EpochReport
from study.spec.study_spec import StudySpec

MODES = ["good", "nan", "raise", "infeasible"]


@pytest.fixture
def mixed(make_plan: MakePlan) -> Path:
    """A small study with every outcome and a key that needs escaping."""
    space = {
        "quality": {"log": [0.1, 1.0]},
        "mode": {"choice": MODES},
        "epochs": {"choice": [4, 6], "when": {"mode": "good"}},
    }
    plan = make_plan(space, trials=14, grace=1, seed=2)
    run_inline(plan)
    return plan.folder


def optuna_study(folder: Path) -> optuna.Study:
    ledger = read_ledger(folder)
    return as_optuna(ledger.records(), json.loads(ledger.attrs["space"]), ledger.direction)


def shown(what: RenderableType, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_status_is_json_of_its_schema(mixed: Path) -> None:
    facts = read_status(mixed).model_dump(mode="json")
    assert json.loads(json.dumps(facts)) == facts
    read = StudyStatus.model_validate_json(json.dumps(facts))
    assert read == read_status(mixed)
    schema = StudyStatus.model_json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(facts)
    assert set(schema["$defs"]["TrialStatus"]["properties"]) == set(facts["trials"][0])
    assert sum(facts["counts"].values()) == len(facts["trials"])
    assert facts["trials"][0]["number"] == facts["leaders"][0] == facts["best"]
    assert [use["name"] for use in facts["budget"]] == ["trials"]
    counted = sum(count for state, count in facts["counts"].items() if state != "INFEASIBLE")
    assert facts["budget"][0]["used"] == counted
    receipt = facts["receipt"]
    parts = sum(receipt[name] for name in ("useful", "stopped", "failed", "overhead"))
    assert parts == pytest.approx(receipt["held"], abs=0.01)
    assert facts["holder"] is None
    assert facts["tracking"] == {"waiting": 0, "refused": 0, "trouble": "", "refusals": [], "files": 0, "files_why": ""}


def test_status_is_a_table_too(mixed: Path) -> None:
    status = read_status(mixed)
    text = shown(format_status(status))
    for outcome in status.counts:
        assert outcome in text
    assert "quality=" in text
    assert "boom" in text
    assert "of 14 trials" in text
    many = status.model_copy(update={"trials": status.trials * 40})
    assert "more trials; --json has them all" in shown(format_status(many))


def test_status_says_who_runs_it_what_waits_and_what_was_put_aside(mixed: Path) -> None:
    (mixed / "trials" / "0000").mkdir(parents=True, exist_ok=True)
    (mixed / "trials" / "0000" / "unusable.txt").write_text("state.json is of trial 7\n")
    with hold_study(mixed, "demo"):
        status = read_status(mixed)
        assert status.state == "running"
        assert status.holder is not None
        assert status.holder.pid == os.getpid()
    first = next(trial for trial in status.trials if trial.number == 0)
    assert first.unusable == "state.json is of trial 7"
    waiting = status.model_copy(update={"tracking": TrackingStatus(waiting=7, refused=1, trouble="no route")})
    text = shown(format_status(waiting))
    assert "7 records wait for the tracking server: no route" in text
    assert "refused 1 values for good" in text
    assert "began anew: state.json is of trial 7" in text
    assert f"process {os.getpid()}" in text
    assert read_status(mixed).state == "interrupted", "nobody closed it"


class Links(HTMLParser):
    """Everything a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_is_one_page_that_fetches_nothing(mixed: Path, tmp_path: Path) -> None:
    path = write_report(read_ledger(mixed), tmp_path / "out" / "report.html")
    page = path.read_text()
    links = Links()
    links.feed(page)
    assert links.found == []
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "@import" not in ours
    assert "url(" not in ours
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.S)[1].replace("<\\/", "</"))
    assert set(charts) >= {"history", "curves", "parallel"}
    told = charts["history"]["data"][0]
    shown = [number for number, value in zip(told["x"], told["y"], strict=True) if value is not None]
    records = read_ledger(mixed).records()
    assert shown == [r.number for r in records if r.outcome is not None and r.outcome.has_value]
    assert [trace["name"] for trace in charts["curves"]["data"]] == [f"Trial{number}" for number in shown]
    for record in records:
        assert record.state in page


def test_a_report_of_an_empty_study_says_what_is_missing(make_plan: MakePlan, tmp_path: Path) -> None:
    from study.engine.ledger import open_ledger

    plan = make_plan(name="a<b>&c", first_is_base=False)
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    page = write_report(ledger, tmp_path / "r.html").read_text()
    assert "need at least 4 complete trials; there are 0" in page
    assert "a&lt;b&gt;&amp;c" in page
    assert "<b>&c" not in page


def test_importances_find_the_parameter_that_matters(make_plan: MakePlan) -> None:
    plan = make_plan({"quality": {"float": [0.1, 1.0]}, "pace": {"float": [0.0, 0.0001]}}, trials=16, scheduler="none")
    run_inline(plan)
    found = importances(optuna_study(plan.folder))
    assert found.fanova["quality"] > 0.8
    assert sum(found.fanova.values()) == pytest.approx(1.0)
    assert "Only 16 complete trials" in found.note


def test_one_parameter_is_all_that_matters(make_plan: MakePlan) -> None:
    plan = make_plan({"quality": {"float": [0.1, 1.0]}}, trials=5, scheduler="none")
    run_inline(plan)
    found = importances(optuna_study(plan.folder))
    assert found.fanova == found.ped_anova == {"quality": 1.0}
    assert "Only quality varied" in found.note


def test_importances_of_equal_trials(make_plan: MakePlan) -> None:
    plan = make_plan({"mode": {"choice": ["good"]}}, trials=5)
    run_inline(plan)
    assert "nothing to compare" in importances(optuna_study(plan.folder)).note


def test_metrics_told_twice_count_once_and_torn_lines_not_at_all(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path)
    for epoch, value in ((1, 0.1), (2, 0.2), (2, 0.3)):
        file.reported(TrialRecord(number=0), EpochReport(number=0, epoch=epoch, metrics={"a": value}))
    with metrics_path(tmp_path, 0).open("a") as stream:
        stream.write('{"epoch": 3, "a"')
    assert read_metrics(tmp_path, 0) == {"a": {1: 0.1, 2: 0.3}}
    assert read_metrics(tmp_path, 1) == {}


def test_brief_values_stay_apart() -> None:
    values = {"loss.beta": 0.123456, "points.kind": "a", "image.kind": "b", "points.features": ["xyz", "normals"]}
    assert values_text(values, brief=True) == "beta=0.1235  points.kind=a  image.kind=b  features=xyz+normals"
    assert values_text(values).startswith("loss.beta=0.1235  points.kind=a")


def test_clock_text() -> None:
    assert [clock_text(s) for s in (9, 127, 3909)] == ["9 s", "2:07", "1:05:09"]


def test_slots_follow_cores_and_gpus() -> None:
    cpu = Resources(cpus=8, gpus=0)
    gpu = Resources(cpus=16, gpus=2)
    assert slots(StudySpec(), trial_resources(StudySpec(), cpu), cpu) == 8
    assert slots(StudySpec(concurrency=3), trial_resources(StudySpec(), cpu), cpu) == 3
    assert slots(StudySpec(cpus_per_trial=3), {"CPU": 3.0, "GPU": 0.0}, cpu) == 2
    assert trial_resources(StudySpec(), gpu) == {"CPU": 1.0, "GPU": 1.0}
    assert slots(StudySpec(), {"CPU": 1.0, "GPU": 1.0}, gpu) == 2
    assert slots(StudySpec(gpus_per_trial=0.4), {"CPU": 1.0, "GPU": 0.4}, gpu) == 4
    with pytest.raises(StudyError, match="asks for 1 GPUs and the cluster has 0; lower gpus_per_trial"):
        trial_resources(StudySpec(gpus_per_trial=1), cpu)
