"""Two encoders side by side: the table's numbers, the picture, and the commands about champions."""

import json
import sqlite3

import numpy as np
import pytest
from known_features import CONFIG, clouds, report_of
from typer.testing import CliRunner

from registry.champions.compare import compare_reports, comparison_png
from registry.champions.gate import paired
from registry.champions.promote import evaluate_version, promote_by_hand
from ssl_core.errors import IntegrityError, RegistryError
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from study.commands.cli import app

NAME = "cross-modal-points"
GOOD, POOR = (report_of({None: clouds(noise, 1)}) for noise in (0.8, 4.0))
TINY = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    probes=("svm", "knn"),
    point_draws=1,
    baselines=(),
    sections=NO_SECTIONS,
)


def run(*words: str):
    """The command's result."""
    return CliRunner().invoke(app, list(words))


def test_the_deciding_row_comes_first_and_is_the_gates():
    found = compare_reports(GOOD, POOR, ("m/1", "m/2"))
    first = found.rows[0]
    assert first.key == GOOD.headline.key
    assert first.paired
    assert first.difference == paired(GOOD.deciding.values, POOR.deciding.values, 0.95)
    assert found.verdict.startswith("m/1 is better than m/2: +")
    assert {row.key for row in found.rows} == {row.key for row in GOOD.rows}
    back = compare_reports(POOR, GOOD, ("m/2", "m/1"))
    assert back.verdict.startswith("m/1 is better than m/2: -")
    same = compare_reports(GOOD, GOOD, ("m/1", "m/1"))
    assert same.rows[0].difference.mean == 0
    assert same.verdict.startswith("neither")


def test_rows_without_answers_are_compared_as_if_apart():
    found = compare_reports(GOOD, POOR, ("m/1", "m/2"))
    apart = [row for row in found.rows if not row.paired]
    assert apart
    for row in apart:
        assert row.difference.mean == pytest.approx(row.left.mean - row.right.mean)
        assert row.difference.se == pytest.approx(np.hypot(row.left.se, row.right.se))
        assert row.difference.low <= row.difference.mean <= row.difference.high


def test_what_cannot_be_compared_says_so():
    other = report_of({None: clouds(0.8, 1)}, pack="another")
    with pytest.raises(RegistryError, match="give --pack"):
        compare_reports(GOOD, other, ("m/1", "m/2"))
    fresh = GOOD.model_copy(update={"config": CONFIG.model_copy(update={"draw_seed": 1})})
    with pytest.raises(RegistryError, match="give --pack"):
        compare_reports(GOOD, fresh, ("m/1", "m/2"))
    broken = POOR.model_copy(update={"deciding": None, "rows": ()})
    with pytest.raises(RegistryError, match="NaN"):
        compare_reports(GOOD, broken, ("m/1", "m/2"))


def test_points_and_images_have_the_deciding_rows_in_common():
    image = report_of({1: clouds(2.0, 1), 8: clouds(2.0, 2)})
    found = compare_reports(GOOD, image, ("p/1", "i/1"))
    assert [row.key for row in found.rows] == ["linear SVM at 3 per class labels", "linear SVM at all labels"]
    assert all(row.paired for row in found.rows)


def test_the_picture_is_one():
    for rows in (GOOD, POOR):
        data = comparison_png(compare_reports(GOOD, rows, ("m/1", "m/2")))
        assert data.startswith(b"\x89PNG")
        assert len(data) > 5000


@pytest.mark.slow
def test_the_commands(store, bundles, lineage, trial, tiny_pack, home, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATSWEEP_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    versions = [store.register(bundle, NAME, lineage, trial) for bundle in bundles[:2]]
    assert "nothing has been decided" in run("history", NAME).stdout
    no_report = run("compare", f"{NAME}/1", f"{NAME}/2")
    assert isinstance(no_report.exception, RegistryError)
    assert "give --pack" in str(no_report.exception)
    for version in versions:
        evaluate_version(store, tiny_pack, version, TINY)
    picture = tmp_path / "both.png"
    both = json.loads(run("compare", f"{NAME}/1", f"{NAME}/2", "--out", str(picture), "--json").stdout)
    assert both["rows"][0]["paired"] is True
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert both["verdict"] in run("compare", f"{NAME}/1", f"{NAME}/2").stdout
    assert len(list((home / "comparisons").glob("*.png"))) == 1

    assert run("promote", f"{NAME}/1").exit_code == 2, "a reason is asked for"
    first = json.loads(run("promote", f"{NAME}/1", "--reason", "start", "--json").stdout)
    assert first["promoted"] is True
    promote_by_hand(store, versions[1], "better downstream")
    back = json.loads(run("rollback", NAME, "--reason", "broke", "--json").stdout)
    assert back["reference"] == f"{NAME}/1"
    told = json.loads(run("history", NAME, "--json").stdout)
    assert [(line["kind"], line["version"]) for line in told["lines"]] == [
        ("promoted", 1),
        ("promoted", 2),
        ("rolled back", 1),
    ]
    assert (told["champion"], told["by_ledger"], told["sound"]) == (1, 1, True)
    assert "better downstream" in " ".join(run("history", NAME).stdout.split())
    assert isinstance(run("history", "nobody").exception, RegistryError)
    store.client.set_registered_model_alias(NAME, "champion", "2")
    assert "moved by hand" in " ".join(run("history", NAME).stdout.split())

    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("DELETE FROM params WHERE key = 'line.000002'")
    database.close()
    broken = run("history", NAME, "--json")
    assert isinstance(broken.exception, IntegrityError)
    assert json.loads(broken.stdout)["sound"] is False
