"""The probe of a study: which configurations it trains, and what it reads from them, on real workers."""

import dataclasses
import io

import pytest
from rich.console import Console

from ssl_core.errors import InfeasibleError, StudyError
from study.forecast.pilot import PilotSize, chosen, run_probe

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))


def test_the_base_comes_first_and_refused_configurations_never(make_plan):
    def check(values):
        if values.get("quality", 0.5) > 0.8:
            raise InfeasibleError("too good")

    plan = dataclasses.replace(
        make_plan(space={"quality": {"float": [0.1, 1.0]}, "epochs": {"int": [2, 9]}}), check=check
    )
    values = chosen(plan, 5)
    assert values[0] == {"quality": 0.5, "epochs": 4}, "the preset's own"
    assert len(values) == 5
    assert all(one["quality"] <= 0.8 for one in values)
    assert chosen(plan, 5) == values, "the same plan is probed the same way"


def test_a_space_with_nothing_possible_is_refused(make_plan):
    def check(values):
        raise InfeasibleError("never")

    with pytest.raises(StudyError, match="is possible; narrow it"):
        chosen(dataclasses.replace(make_plan(), check=check), 3)


def test_a_probe_measures_epochs_overheads_and_sizes(make_plan, ray_two, tmp_path):
    plan = make_plan(
        space={"pace": {"choice": [0.3, 0.6]}, "quality": {"float": [0.1, 1.0]}}, base={"epochs": 40, "pace": 0.3}
    )
    pilot = run_probe(plan, PilotSize(configurations=3, epochs=3), 2, QUIET)
    assert len(pilot.configurations) == 3
    for one in pilot.configurations:
        assert (one.epochs, one.trained) == (40, 3), "the study's epochs are known, few are trained"
        assert one.values["pace"] <= one.epoch_seconds < one.values["pace"] + 2
        assert one.resident_bytes > 10e6
        assert 10 < one.checkpoint_bytes < 10_000
        assert one.peak_bytes == 0
    assert {one.values["pace"] for one in pilot.configurations} == {0.3, 0.6}
    assert pilot.seconds > pilot.start_seconds > 0
    assert pilot.between_seconds >= 0
    assert list((tmp_path / "home").iterdir()) == [], "its folder is gone"
    assert not plan.folder.exists(), "the study was not begun"


@pytest.mark.slow  # ten seconds
def test_a_probe_says_why_nothing_trained(make_plan, ray_two):
    with pytest.raises(StudyError, match="more points than any object keeps"):
        run_probe(make_plan(base={"mode": "infeasible"}), PilotSize(configurations=2), 2, QUIET)


@pytest.mark.slow
def test_failed_configurations_are_told_and_the_rest_counts(make_plan, ray_two):
    plan = make_plan(space={"mode": {"choice": ["good", "infeasible"]}}, base={"epochs": 5})
    pilot = run_probe(plan, PilotSize(configurations=2), 2, QUIET)
    assert {one.values["mode"] for one in pilot.configurations} == {"good"}
    assert any("more points" in reason for reason in pilot.failed)


@pytest.mark.slow
def test_a_probe_ends_in_time(make_plan, ray_two):
    plan = make_plan(base={"epochs": 50, "pace": 0.5})
    pilot = run_probe(plan, PilotSize(configurations=4, epochs=50, minutes=0.05), 2, QUIET)
    assert sum(one.trained for one in pilot.configurations) < 60
