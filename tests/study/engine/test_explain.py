"""`why`: where values came from, what was known then, and what ended a trial."""

import json
from pathlib import Path
from typing import Any

import pytest
from search_kit import finish, on_disk, space_of, spec_of
from typer.testing import CliRunner

from search_spaces.parameter import Choice, FloatRange
from search_spaces.space import SearchSpace
from ssl_core.errors import StudyError
from study.commands.cli import app
from study.engine.explain import Explanation, explain
from study.engine.ledger import Ledger
from study.record.trial_record import Origin, Verdict
from study.reports.study_text import explanation_text
from study.spec.outcome import EpochReport, Outcome


def space() -> SearchSpace:
    return space_of(
        {"x": FloatRange(kind="float", low=0.0, high=1.0), "k": Choice(values=("a", "b"))}, {"x": 0.5, "k": "a"}
    )


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path))
    spec = spec_of("tpe", enqueue=({"x": 0.25},), repeats=2)
    return on_disk(tmp_path / "studies" / "s", space(), spec)


def shown(found: Explanation) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(explanation_text(found))
    return console.export_text()


def test_each_origin_is_told(study: Ledger) -> None:
    folder = study.folder
    for value in (0.1, 0.2, 0.3, 0.4):
        finish(study, study.ask(space()).number, value)
    suggested = study.ask(space())
    repeat = study.repeat_of(3)
    confirming = study.add({"x": 0.1}, Origin(kind="confirmation", of=3))
    assert [explain(folder, number).origin.kind for number in range(4)] == ["base", "enqueued", "startup", "sampler"]  # type: ignore[union-attr]
    assert "the preset itself" in shown(explain(folder, 0))
    assert "given by hand (point 1 of 1" in shown(explain(folder, 1))
    assert "drawn at random by tpe, which knew 2 complete" in shown(explain(folder, 2))
    found = explain(folder, suggested.number)
    assert [seen.number for seen in found.seen] == [3, 2, 1, 0]
    assert [seen.values for seen in found.seen] == [(0.4,), (0.3,), (0.2,), (0.1,)]
    assert found.seen[0].params == study.record(3).params
    assert "suggested by tpe, which knew 4 complete" in shown(found)
    again = explain(folder, repeat.number)
    assert again.siblings[0].number == 3
    assert "those of trial 3, trained again with seed 5" in shown(again)
    assert "to compare with trial 3" in shown(explain(folder, confirming.number))


def test_what_was_running_and_failed_is_told_too(study: Ledger) -> None:
    for outcome in (Outcome.COMPLETE, Outcome.DIVERGED, Outcome.CRASHED, Outcome.COMPLETE, Outcome.COMPLETE):
        finish(study, study.ask(space()).number, 0.5, outcome)
    running, asked = study.ask(space()), study.ask(space())
    text = shown(explain(study.folder, asked.number))
    assert f"knew 3 complete, 1 failed, 1 stopped or diverged, 1 running ({running.number})" in text


def test_what_stopped_it_at_which_rung_against_which_bar(study: Ledger) -> None:
    record = study.ask(space())
    study.report(EpochReport(number=record.number, epoch=3, epochs=9), 0.4, 1.0)
    verdict = Verdict(
        scheduler="asha", rung=3, value=0.4, bar=0.7, among=6, reason="rung of 3 epochs: 0.4 is below 0.7, best 2 of 6"
    )
    study.close(record.number, Outcome.STOPPED, verdict.reason, None, verdict)
    found = explain(study.folder, record.number)
    assert (found.verdicts[0].rung, found.verdicts[0].bar) == (3, 0.7)
    assert "STOPPED, stopped after epoch 3 of 9" in shown(found)
    assert "below 0.7" in shown(found)


def test_what_was_exploited(study: Ledger) -> None:
    donor, record = study.ask(space()), study.ask(space())
    study.report(EpochReport(number=record.number, epoch=2, epochs=9), 0.4, 1.0)
    verdict = Verdict(
        action="exploit", scheduler="pbt", rung=2, value=0.4, bar=0.7, among=4, donor=donor.number,
        values={"x": 0.9, "k": "a"}, reason="continues from trial 0 with x=0.9",
    )  # fmt: skip
    assert study.redirect(record.number, verdict).values == {"x": 0.9, "k": "a"}
    found = explain(study.folder, record.number)
    assert found.verdicts[0].donor == donor.number
    assert "continues from trial 0 with x=0.9" in shown(found)
    finish(study, record.number, 0.9)
    seen = {seen.number: seen.told for seen in explain(study.folder, study.ask(space()).number).seen}
    assert seen[record.number] == "FAIL"  # its result is not the work of the values it was asked with


def test_crashes_and_unfinished_trials(study: Ledger) -> None:
    record = study.ask(space())
    assert explain(study.folder, record.number).phase == "not started or not yet reported"
    study.report(EpochReport(number=record.number, epoch=1, epochs=9), 0.4, 1.0)
    study.note(record.number, crashes=1)
    found = explain(study.folder, record.number)
    assert found.attempts == 2
    assert "UNFINISHED: running, or to be continued at epoch 1 of 9" in shown(found)
    assert "crashes once" in shown(found)
    study.note(record.number, crashes=2)
    study.close(record.number, Outcome.CRASHED, "RuntimeError: it broke")
    assert explain(study.folder, record.number).attempts == 2
    assert "CRASHED, RuntimeError: it broke" in shown(explain(study.folder, record.number))


def test_the_command(study: Ledger) -> None:
    finish(study, study.ask(space()).number, 0.5)
    study.ask(space())
    run = CliRunner().invoke(app, ["why", "s", "0"])
    assert run.exit_code == 0
    assert "COMPLETE, trained all its 1 epochs; best m 0.5 at epoch 1, place 1 of 1" in run.output.replace("\n", " ")
    facts: dict[str, Any] = json.loads(CliRunner().invoke(app, ["why", "s", "1", "--json"]).output)
    assert facts["origin"]["kind"] == "enqueued"
    assert facts["trial"]["values"] == {"x": 0.25, "k": "a"}


def test_unknown_names_are_told_what_there_is(study: Ledger) -> None:
    with pytest.raises(StudyError, match=r"study 's' has no trial 7; it has none yet"):
        explain(study.folder, 7)
    study.ask(space())
    with pytest.raises(StudyError, match=r"no trial 7; it has 0 \.\. 0"):
        explain(study.folder, 7)
    with pytest.raises(StudyError, match=r"no study 'other'.*there is s"):
        explain(study.folder.parent / "other", 0)
