"""What `sweep` says first, and last: what MLflow refused and did not take, which a long evaluation scrolls away."""

from pathlib import Path

import pytest
from fake_plans import MakePlan
from inline_driver import run_inline

from registry.tracking.cursor import Cursor, write_cursor
from ssl_core.errors import RegistryError
from study.commands.sweep_command import sweep
from study.engine.ledger import open_ledger
from study.record.config_file import ConfigFile
from study.registration.sweep import Request, print_study, study_facts
from study.run.study_plan import summary_of


def test_what_mlflow_refused_and_did_not_take_is_said_at_the_end(make_plan: MakePlan, capsys) -> None:
    plan = make_plan(trials=2)
    run_inline(plan, callbacks=[ConfigFile(plan.folder, plan.space)])
    ledger = open_ledger(plan.folder, plan.identity, plan.spec, plan.space)
    summary = summary_of(ledger, "done", interrupted=False, was_finished=True, seconds=1.0)
    request = Request(plan.space.source, "pack")
    print_study(plan, summary, [], request)
    assert "MLflow" not in capsys.readouterr().out
    waiting, why = {"0": ("best.pt", "config.json"), "study": ("report.html",)}, "run 0, best.pt: too large"
    refusals = ("run 1, loss: not a number",)
    write_cursor(plan.folder, Cursor(complete=True, waiting=waiting, waiting_why=why, refused=4, refusals=refusals))
    print_study(plan, summary, [], request)
    last = [line for line in capsys.readouterr().out.splitlines() if line][-2:]
    assert last[0].startswith("MLflow has not taken 3 files; the latest: run 0, best.pt: too large. They are kept in")
    assert last[1] == "MLflow refused 4 values for good; the latest: run 1, loss: not a number"
    assert study_facts(plan, summary, [])["tracking"]["files"] == 3


def test_an_address_that_cannot_be_is_said_before_anything_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLATSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localhost:5000")
    with pytest.raises(RegistryError, match="write http://localhost:5000"):
        sweep(data=tmp_path)
    assert not (tmp_path / "home").exists()
