"""A whole study over feature groups, with confirmations at its end, and the report about it."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import yaml
from fake_sessions import FakeConfig, FakeSession
from inline_driver import run_inline

from search_spaces.space import load_space
from study.analysis.attribution import from_confirmations
from study.engine.ledger import memory_ledger, read_ledger
from study.record.trial_record import leaders
from study.registration.assess import Assessed
from study.registration.sweep import Request, print_study, study_facts
from study.reports.status import read_status
from study.reports.study_report import write_report
from study.run.driver import StudyPlan, StudySummary
from study.spec.outcome import EpochReport, Outcome
from study.spec.study_spec import StudySpec
from study.spec.trial_request import TrialRequest

CHOICES = [["xyz"], ["xyz", "scale", "rotation"], ["xyz", "normals"]]


class FeatureConfig(FakeConfig):
    features: tuple[str, ...] = ("xyz",)
    lr: float = 0.5


class FeatureSession(FakeSession):
    """Scale is worth 0.3, nothing else anything; seeds differ by a little."""

    def run_epoch(self) -> Mapping[str, float]:
        metrics = super().run_epoch()
        luck = 0.02 * np.random.default_rng(self.request.seed).normal()
        value = (0.3 + 0.3 * ("scale" in self.config.features) + luck) * self.epoch / self.epochs
        return {**metrics, "val/probe": value, "cost/parameters": 1000.0 * len(self.config.features)}


def open_session(request: TrialRequest) -> FeatureSession:
    return FeatureSession(request, FeatureConfig())


def feature_plan(folder: Path, **spec: object) -> StudyPlan:
    path = folder / "space.yaml"
    section = {"features": {"choice": CHOICES}, "lr": {"float": [0.0, 1.0]}}
    path.write_text(yaml.safe_dump({"recipe": "fake", "preset": "quick", "space": section}))
    settings = {
        "trials": 12,
        "metric": "val/probe",
        "confirm_features": True,
        "scheduler": {"kind": "asha", "grace": 2},
    }
    return StudyPlan(
        name="groups",
        folder=folder / "studies" / "groups",
        pack_digest="pack0",
        spec=StudySpec.model_validate({**settings, **spec}),
        space=load_space(path, lambda *_: FeatureConfig()),
        open_session=open_session,
    )


@pytest.fixture
def confirmed(tmp_path: Path) -> Path:
    """A study of twelve trials and the confirmations at its winner."""
    plan = feature_plan(tmp_path)
    run_inline(plan)
    return plan.folder


def test_confirmations_run_at_the_end_and_find_the_group_that_matters(confirmed: Path) -> None:
    ledger = read_ledger(confirmed)
    records = ledger.records()
    made = [record for record in records if record.confirms]
    assert len(records) == 12 + len(made)
    assert len(made) == 9, "the winner, without scale, without rotation; three seeds each"
    assert all(record.outcome is Outcome.COMPLETE for record in made), "confirmations are not stopped"
    assert min(record.number for record in made) == 12
    assert len({record.seed for record in made}) == 9
    found = from_confirmations(records, json.loads(ledger.attrs["space"]), "maximize")
    assert found is not None
    first, second = found.gains
    assert first.groups == ("scale",)
    assert first.low > 0
    assert second.groups == ("rotation",)
    assert not second.matters
    assert all(not record.confirms for record in leaders(records, "maximize", 5))
    run_inline(feature_plan(confirmed.parents[1]))
    assert len(read_ledger(confirmed).records()) == len(records), "continuing adds nothing"


def test_scripts_and_people_are_told_what_groups_are_worth(confirmed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = feature_plan(confirmed.parents[1])
    best = tuple(leaders(read_ledger(confirmed).records(), "maximize", 2))
    summary = StudySummary(plan.name, plan.folder, {"COMPLETE": 12}, best, "all 12 trials are done")
    facts = json.loads(json.dumps(study_facts(plan, summary, [])))
    assert [gain["groups"] for gain in facts["groups"]] == [["scale"], ["rotation"]]
    parts = sum(facts["receipt"][name] for name in ("useful", "stopped", "failed", "overhead"))
    assert facts["receipt"]["held"] == pytest.approx(parts)
    judged = Assessed(
        name="groups-points",
        version=1,
        trial=best[0].number,
        status="candidate",
        headline="0.5",
        decision="kept",
    )
    print_study(plan, summary, [judged], Request(Path("my space.yaml"), "packs/it's;p"))
    shown = capsys.readouterr().out
    command = shown.splitlines()[-1].removeprefix("  bigger study  ")
    assert shlex.split(command)[1:5] == ["sweep", "my space.yaml", "--pack", "packs/it's;p"]
    assert "confirmed at the winner" in shown
    assert "best of 12 trials" in shown


def charts_of(page: str) -> dict[str, dict]:  # type: ignore[type-arg]
    found = re.search(r'id="charts">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1].replace("<\\/", "</"))  # type: ignore[no-any-return]


def test_the_report_has_what_was_found(confirmed: Path, tmp_path: Path) -> None:
    page = write_report(read_ledger(confirmed), tmp_path / "r.html").read_text()
    charts = charts_of(page)
    assert {"history", "curves", "attribution", "rungs", "timeline", "receipt"} <= set(charts)
    assert "pareto" not in charts
    for chart in charts.values():
        go.Figure(chart)  # knows all of its properties
    places = set(re.findall(r'<div id="(\w+)"></div>', page))
    assert places == set(charts), "every chart has its place and every place its chart"
    for title in ("What each feature group is worth", "Confirmations at the winner", "Receipt", "Rungs", "Provenance"):
        assert title in page
    assert "9 confirmations, no candidates" in page
    assert "<b>scale</b>" in page
    told = charts["history"]["data"][0]
    shown = [number for number, value in zip(told["x"], told["y"], strict=True) if value is not None]
    assert max(shown) == 11, "confirmations are no part of the search's history"


def test_a_report_with_several_objectives_has_their_front(tmp_path: Path) -> None:
    objectives = [{"metric": "val/probe"}, {"metric": "cost/parameters", "direction": "minimize"}]
    plan = feature_plan(tmp_path, objectives=objectives, confirm_features=False, scheduler="none", sampler="nsga2")
    run_inline(plan)
    page = write_report(read_ledger(plan.folder), tmp_path / "r.html").read_text()
    charts = charts_of(page)
    assert {"pareto", "volume", "edf", "slice", "rank", "contour", "fidelity"} <= set(charts)
    front = next(trace for trace in charts["pareto"]["data"] if "Best Trial" in trace["hovertemplate"])
    go.Figure(charts["pareto"])
    places = sorted(zip(front["x"], front["y"], strict=True))
    assert sorted(y for _, y in places) == [y for _, y in places]
    volumes = charts["volume"]["data"][0]["y"]
    assert volumes == sorted(volumes)
    assert "Pareto front" in page
    assert read_status(plan.folder).objectives == ("val/probe", "cost/parameters")


def test_a_report_of_few_trials_says_so(tmp_path: Path) -> None:
    plan = feature_plan(tmp_path, trials=2, confirm_features=False)
    run_inline(plan)
    page = write_report(read_ledger(plan.folder), tmp_path / "r.html").read_text()
    assert {"edf", "slice", "rank", "contour", "attribution", "fidelity"}.isdisjoint(charts_of(page))
    assert page.count("At least 4 complete trials are needed.") == 3
    assert "At least 5 complete trials are needed to compare" in page


@pytest.mark.slow
def test_a_report_of_a_thousand_trials_stays_small(tmp_path: Path) -> None:
    plan = feature_plan(tmp_path, trials=1000, sampler="random", confirm_features=False)
    ledger = memory_ledger(plan.identity, plan.spec, plan.space)
    rng = np.random.default_rng(0)
    for number in range(1000):
        ledger.ask(plan.space)
        length = int(rng.choice([2, 6, 18, 50]))
        for epoch in range(1, length + 1):
            ledger.report(EpochReport(number=number, epoch=epoch, epochs=50), float(rng.normal() + epoch), 0.1 * epoch)
        ledger.close(number, Outcome.COMPLETE if length == 50 else Outcome.STOPPED, "")
    path = write_report(ledger, tmp_path / "r.html", "finished")
    assert path.stat().st_size < 10e6
