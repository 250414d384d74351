"""Laws of the evaluation grid, on features whose quality is known."""

import json

import numpy as np
import pytest
import torch
from known_features import CLASSES, CONFIG, LABELS, clouds, report_of

from ssl_core.config import validated
from ssl_core.errors import ConfigError
from ssl_core.evaluation.probe_grid import feature_health, probe_cell
from ssl_core.evaluation.task import parse_report
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, ProbingReport


def test_an_encoder_equal_to_its_twins_has_no_difference():
    same = {None: clouds(2.0, 1)}
    report = report_of(same, [same, same])
    for row in report.rows:
        assert row.difference is not None
        assert row.baseline == row.accuracy
        assert list(row.baselines) == [row.baseline_name] == ["random twin"]
        assert (row.difference.mean, row.difference.se) == (0.0, 0.0)


def test_a_better_encoder_beats_its_twin_and_pairing_sharpens_it():
    report = report_of({None: clouds(1.0, 1)}, [{None: clouds(3.0, 2)}, {None: clouds(3.0, 3)}])
    row = report.headline
    assert row is not None
    assert row.difference is not None
    assert row.difference.low > 0.1
    assert row.accuracy.mean - row.baseline.mean == pytest.approx(row.difference.mean)


def test_more_labels_help_and_every_row_is_there():
    report = report_of({None: clouds(2.0, 1)})
    few, half, full = (report.row("svm", name).accuracy for name in ("3 per class", "50 %", "all"))
    assert few.mean < half.mean < full.mean
    assert few.n == 6
    assert len(report.rows) == 3 * 3
    assert {row.over for row in report.rows if row.labels == "all"} == {"test objects"}
    assert all(0 <= row.accuracy.low <= row.accuracy.high <= 1.001 for row in report.rows if row.labels == "all")


def test_report_parts_agree_with_each_other():
    report = report_of({None: clouds(2.0, 1)}, [{None: clouds(2.5, 2)}])
    assert np.mean(report.deciding.values) == pytest.approx(report.headline.accuracy.mean, abs=1e-4)
    assert np.mean(report.baseline.values) == pytest.approx(report.headline.baseline.mean, abs=1e-4)
    confusion = np.array(report.confusion)
    assert confusion.shape == (CLASSES, CLASSES)
    assert confusion.sum(axis=1).tolist() == np.bincount(LABELS.test).tolist()
    full = report.row("svm", "all").accuracy.mean
    assert (
        confusion.trace() / confusion.sum() == pytest.approx(full) == pytest.approx(np.mean(report.full_labels.values))
    )


def test_the_same_input_gives_the_same_report_and_survives_json():
    cells = {None: clouds(2.0, 1)}
    a, b = report_of(cells, [cells]), report_of(cells, [cells])
    assert a == b
    assert ProbingReport.from_json(a.to_json()) == parse_report(a.to_json()) == a


def test_views_are_separate_rows_and_the_headline_takes_all_of_them():
    cells = {1: clouds(3.0, 1), 4: clouds(1.5, 1, draws=1)}
    report = report_of(cells)
    assert report.max_views == 4
    assert report.headline.views == 4
    assert report.row("svm", "all", 1).accuracy.mean < report.row("svm", "all", 4).accuracy.mean
    assert report.headline.key == "svm/3_per_class/views_4"


def test_every_encoder_sees_the_same_labels():
    x = clouds(2.0, 1)[0]
    setting = CONFIG.deciding_labels
    first, again = (probe_cell([f], LABELS, setting, "svm", CONFIG) for f in (x, x[:, ::-1]))
    # turning the columns round changes nothing for a linear machine, so any difference would be in the labels
    assert (first.correct == again.correct).mean() > 0.99


def test_health_tells_a_working_encoder_from_a_collapsed_one():
    x = clouds(1.0, 1)[0]
    healthy = feature_health(x, LABELS.test)
    assert healthy.effective_rank > 4
    assert healthy.relative_std > 0.3
    assert healthy.constant_accuracy == pytest.approx(1 / CLASSES)
    constant = feature_health(np.ones_like(x) * x[:1], LABELS.test)
    assert constant.relative_std < 1e-6
    assert constant.effective_rank == 0.0
    line = feature_health(np.linspace(0, 1, 50)[:, None] * x[:1], LABELS.test[:50])
    assert line.effective_rank == pytest.approx(1.0, abs=0.05)
    broken = x.copy()
    broken[0, 0] = np.inf
    assert not feature_health(broken, LABELS.test).finite
    assert feature_health(np.zeros_like(x), LABELS.test).relative_std == 0.0


def test_effective_rank_of_equal_directions_is_their_number():
    x = np.concatenate([np.eye(12), -np.eye(12)])
    assert feature_health(x, np.zeros(24, np.int64)).effective_rank == pytest.approx(12)


def test_settings_that_make_no_sense_are_refused():
    both = {"per_class": 2, "fraction": 0.1}
    for values in ({"label_settings": [both]}, {"label_settings": [{"draws": 3}]}, {"views": []}):
        with pytest.raises(ConfigError):
            validated(EvaluationConfig, values)


def test_a_report_of_another_format_is_not_taken_for_one_of_these_rules():
    values = report_of({None: clouds(2.0, 1)}).model_dump(mode="json")
    values["config"].pop("protocol")
    assert parse_report(json.dumps(values)).config.protocol == "3"
    for version in (1, 4, None):
        with pytest.raises(ValueError, match="no report"):
            parse_report(json.dumps({**values, "format_version": version}))
    for other in ("[]", "{}", "3"):
        with pytest.raises(ValueError, match="no report"):
            parse_report(other)


def test_single_draws_tell_how_far_one_seed_may_mislead():
    report = report_of({None: clouds(2.0, 1)})
    few, full = report.headline.single, report.row("svm", "all").single
    assert few.draws == 6 * 2  # label draws times point draws
    assert few.low <= report.headline.accuracy.mean <= few.high
    assert few.sd > full.sd
    assert full.draws == 2
    assert report_of({None: clouds(2.0, 1, draws=1)}).row("svm", "all").single is None


def test_the_linear_probe_runs_on_one_thread_and_gives_the_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        probe_cell(clouds(2.0, 1), LABELS, CONFIG.deciding_labels, "linear", CONFIG)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_baseline_counts_by_its_better_reading():
    """Rotated to principal components, features tell the SVM on scaled columns little, and still are what they were."""
    both = CONFIG.model_copy(update={"probes": ("svm", "one_scale_svm")})
    x = clouds(0.8, 1)[0]
    small = x @ np.diag(np.geomspace(1, 1e-3, x.shape[1])).astype(np.float32)
    principal = np.linalg.svd(small - small.mean(axis=0), full_matrices=False)[2].T
    report = report_of({None: [small]}, [{None: [small @ principal]}], both)
    row = report.headline
    assert row.baseline_name == report.baseline_name == "random twin, one scale"
    assert row.baseline.mean > row.baselines["random twin"].score.mean
    assert report.baseline.mean == pytest.approx(row.baseline.mean, abs=1e-4)
    assert set(report.row("one_scale_svm", "all").baselines) == {"random twin"}


def test_a_report_says_where_the_basis_hides_what_features_know():
    both = CONFIG.model_copy(update={"probes": ("svm", "one_scale_svm")})
    assert report_of({None: clouds(0.8, 1)}, config=both).hidden_by_basis == ""
    rng = np.random.default_rng(0)
    wide = np.concatenate([clouds(0.8, 1)[0], 1e-3 * rng.normal(size=(180, 2000)).astype(np.float32)], axis=1)
    hidden = report_of({None: [wide]}, config=both)
    assert "Rotate the features" in hidden.hidden_by_basis
    assert hidden.hidden_by_basis in hidden.markdown()
