"""What pretraining bought, and the verdicts on a study's encoders: in the folder, on a terminal, in the report."""

import io
from pathlib import Path
from typing import Any

import pytest
from fake_plans import MakePlan
from inline_driver import run_inline
from rich.console import Console, RenderableType

from registry.versions.gain import Gain
from study.engine.ledger import read_ledger
from study.record.metrics_file import metrics_path
from study.reports.status import StudyStatus, read_status
from study.reports.study_report import write_report
from study.reports.study_text import format_status
from study.reports.verdict_text import bought_lines, verdict_rows
from study.reports.verdicts import EncoderVerdict, best_of_each_kind, in_order, keep_verdicts, read_verdicts


def verdict(version: int, mean: float | None, **more: Any) -> EncoderVerdict:
    gain = None
    if mean is not None:
        text = f"{100 * mean:+.1f} ± 2.0 points"
        gain = Gain(baseline="random twin", mean=mean, low=mean - 0.02, high=mean + 0.02, text=text)
    made = {"name": "demo-points", "kind": "point_encoder", "study": "demo", "trial": version, "status": "evaluated"}
    return EncoderVerdict(**{**made, "version": version, "gain": gain, "headline": f"svm of {version}", **more})


FOUR = (
    verdict(1, 0.05, status="champion", aliases=("champion",)),
    verdict(2, 0.10),
    verdict(1, 0.01, name="demo-image", decision="not shown to be <better>"),
    verdict(2, None, name="demo-image", status="registered", headline=""),
)


def shown(what: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(what, markup=True)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_champion_stands_for_its_kind_else_the_largest_gain() -> None:
    assert [one.reference for one in best_of_each_kind(FOUR)] == ["demo-points/1", "demo-image/1"]
    assert [one.reference for one in best_of_each_kind(FOUR[1:])] == ["demo-points/2", "demo-image/1"]
    assert best_of_each_kind(FOUR[3:]) == []
    assert in_order(FOUR[::-1]) == list(FOUR)


def test_a_line_for_each_kind_and_a_word_where_the_interval_includes_zero() -> None:
    points, image = bought_lines(FOUR)
    assert points == "demo-points/1 (champion): +5.0 ± 2.0 points over the strongest baseline (random twin)"
    assert image.endswith("; not shown to help: the interval includes zero")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_stay_whole_at_any_width(width: int) -> None:
    long = verdict(12, 0.1, name="multiview-contrast-points", status="former champion")
    text = shown(verdict_rows("registered models", [long, *FOUR]), width)
    for one in (long, *FOUR):
        assert any(one.reference in line for line in text.splitlines()), one.reference
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path) == ()
    keep_verdicts(tmp_path, FOUR)
    assert read_verdicts(tmp_path) == FOUR
    (tmp_path / "verdicts.json").write_text('{"format": 2}')
    assert read_verdicts(tmp_path) == ()


def test_status_and_report_open_with_it_and_curves_begin_at_epoch_0(make_plan: MakePlan) -> None:
    plan = make_plan(trials=4)
    run_inline(plan)
    path = metrics_path(plan.folder, 0)
    path.write_text('{"val/probe": 0.99, "epoch": 0}\n' + path.read_text())
    keep_verdicts(plan.folder, FOUR)
    status = read_status(plan.folder)
    assert StudyStatus.model_validate_json(status.model_dump_json()) == status
    assert status.encoders == FOUR
    assert status.warning.startswith("1 of 4 trials are never better than their untrained models")
    untrained = {trial.number: trial.untrained for trial in status.trials}
    assert untrained == {0: 0.99, 1: None, 2: None, 3: None}
    text = shown(format_status(status), 100)
    assert text.splitlines()[0].startswith("demo-points/1 (champion): +5.0 ± 2.0 points")
    assert "untrained 0.99" in text
    page = write_report(read_ledger(plan.folder), plan.folder / "page.html").read_text()
    assert 0 < page.index("What pretraining bought") < page.index("best val/probe") < page.index("Leaderboard")
    assert "+5.0 ± 2.0 points" in page
    assert "not shown to be &lt;better&gt;" in page
    assert "Epoch 0 is the untrained models" in page


def test_a_study_without_registered_models_opens_as_before(make_plan: MakePlan) -> None:
    plan = make_plan(trials=1)
    run_inline(plan)
    page = write_report(read_ledger(plan.folder), plan.folder / "page.html").read_text()
    assert "What pretraining bought" not in page
    assert "Epoch 0" not in page
    assert read_status(plan.folder).encoders == ()
