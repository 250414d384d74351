"""A journal that was not tampered with replays without a difference; one that was does not."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search_kit import WIDE, act, finish, lines_of, on_disk, space_of, spec_of
from typer.testing import CliRunner

from ssl_core.errors import StudyError
from study.commands.cli import app
from study.engine.ledger import JOURNAL
from study.engine.replay import replay
from study.record.journal_lines import Op
from study.record.trial_record import Origin
from study.spec.outcome import Outcome

Lines = list[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A concurrent study with crashes, repeats and a confirmation."""
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path))
    folder, rng, space = tmp_path / "studies" / "s", random.Random(4), space_of(WIDE)
    ledger = on_disk(folder, space, spec_of("tpe", repeats=2))
    for _ in range(130):
        act(ledger, space, rng)
    winner = next(record for record in ledger.records() if record.outcome is Outcome.COMPLETE)
    confirming = ledger.add({"x": 1.0}, Origin(kind="confirmation", of=winner.number))
    finish(ledger, confirming.number, 0.5)
    for _ in range(20):
        act(ledger, space, rng)
    return folder


def tamper(folder: Path, change: Callable[[Lines], None]) -> None:
    lines = lines_of(folder)
    change(lines)
    (folder / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))


def created(lines: Lines, kind: str) -> dict[str, Any]:
    """The last trial of this origin."""
    return [
        line for line in lines if line["op_code"] == Op.CREATE_TRIAL and line["user_attrs"]["origin"]["kind"] == kind
    ][-1]


def test_nothing_differs_in_what_happened(folder: Path) -> None:
    found = replay(folder)
    assert found.differences == ()
    assert found.given == 1
    assert found.exact == found.derived == found.trials - 1


def test_a_changed_parameter_is_reported(folder: Path) -> None:
    def change(lines: Lines) -> None:
        created(lines, "sampler")["params"]["x"] += 1e-6

    tamper(folder, change)
    found = replay(folder)
    assert found.differences[0].what == "params.x"
    assert found.exact < found.derived


def test_a_changed_repeat_is_reported(folder: Path) -> None:
    def change(lines: Lines) -> None:
        created(lines, "repeat")["user_attrs"]["values"]["lr"] *= 1.01

    tamper(folder, change)
    assert [difference.what for difference in replay(folder).differences] == ["values.lr"]


def test_a_changed_seed_is_reported(folder: Path) -> None:
    def change(lines: Lines) -> None:
        created(lines, "sampler")["user_attrs"]["seed"] += 1

    tamper(folder, change)
    assert [difference.what for difference in replay(folder).differences] == ["seed"]


def test_a_changed_order_is_reported(folder: Path) -> None:
    """An end that is moved behind the next suggestion was not known to it."""

    def change(lines: Lines) -> None:
        for place in range(len(lines) - 1, 0, -1):
            earlier, later = lines[place - 1], lines[place]
            if earlier["op_code"] != Op.TRIAL_STATE or later["op_code"] != Op.CREATE_TRIAL:
                continue
            if later["user_attrs"]["origin"]["kind"] in ("sampler", "startup"):
                lines[place - 1], lines[place] = later, earlier
                return
        raise AssertionError("no such pair")

    def ungroup(lines: Lines) -> None:
        for line in lines:
            line.pop("more", None)

    tamper(folder, ungroup)  # which says which lines belong together, and would be wrong now
    assert replay(folder).differences == ()
    tamper(folder, change)
    assert any(difference.what.startswith("origin.") for difference in replay(folder).differences)


def test_a_changed_value_is_reported(folder: Path) -> None:
    def change(lines: Lines) -> None:
        ends = [line for line in lines if line["op_code"] == Op.TRIAL_VALUE]
        for line in ends[: len(ends) // 2]:
            line["intermediate_value"] = -line["intermediate_value"]

    tamper(folder, change)
    assert any(difference.what.startswith("params.") for difference in replay(folder).differences)


def test_a_changed_space_is_reported(folder: Path) -> None:
    def change(lines: Lines) -> None:
        line = next(line for line in lines if line["op_code"] == Op.STUDY_ATTR and "space" in line["user_attr"])
        document = json.loads(line["user_attr"]["space"])
        document["space"]["x"]["domain"]["high"] = 3.0
        line["user_attr"]["space"] = json.dumps(document)

    tamper(folder, change)
    assert any(difference.what == "space digest" for difference in replay(folder).differences)


def test_the_command_says_so_and_its_exit_code_too(folder: Path) -> None:
    run = CliRunner().invoke(app, ["replay", "s"])
    count = replay(folder).derived
    assert run.exit_code == 0
    assert f"{count} of {count} suggestions re-derived, 0 differences" in run.output.replace("\n", " ")
    facts = json.loads(CliRunner().invoke(app, ["replay", "s", "--json"]).output)
    assert facts["differences"] == []
    assert facts["exact"] == count

    def change(lines: Lines) -> None:
        created(lines, "sampler")["params"]["lr"] *= 1.5

    tamper(folder, change)
    run = CliRunner().invoke(app, ["replay", "s"])
    assert run.exit_code == 1
    assert "params.lr is" in run.output
    assert CliRunner().invoke(app, ["replay", "s", "--json"]).exit_code == 1


def test_a_study_that_is_not_there(folder: Path) -> None:
    with pytest.raises(StudyError, match=r"no study 'other'.*there is s"):
        replay(folder.parent / "other")
