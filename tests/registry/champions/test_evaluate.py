"""The protocol on a real (small) pack with real encoders."""

import json

import numpy as np
import pytest
import torch
from tiny_bundles import IMAGE, IMAGE_BACKBONE, POINT_BACKBONE, POINTS

from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import Extraction, FeatureCache
from ssl_core.evaluation.features import pool, view_subsets
from ssl_core.evaluation.pictures import principal_components
from ssl_core.evaluation.protocol import OBJECTS_FILE, LabelSetting, ObjectLists
from ssl_core.evaluation.report import EvaluationProgress
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, Sections
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig, ProbingReport
from ssl_core.models.cards import encoder_card

CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    point_draws=2,
    view_draws=2,
    baselines=("random_twins", "calibrated_twins", "coordinate_quantiles"),
    twin_seeds=(5, 6),
    sections=NO_SECTIONS,
)


ALONE = CONFIG.model_copy(update={"baselines": ()})
POINT_CARD, IMAGE_CARD = encoder_card(POINTS, POINT_BACKBONE), encoder_card(IMAGE, IMAGE_BACKBONE)


def evaluated(seed, card, pack, config=CONFIG, context=Context()):
    return evaluate_encoder(card.build(seed), card, pack, config, context)


def without_timings(report: ProbingReport) -> ProbingReport:
    """The part that is the same whenever the evaluation is repeated."""
    sections = report.sections.model_copy(update={"costs": None})
    timings = {"extraction": Extraction(), "seconds": 0.0, "section_seconds": {}}
    return report.model_copy(update={**timings, "sections": sections})


def test_points_are_evaluated_against_twins(tiny_pack):
    found = evaluated(0, POINT_CARD, tiny_pack)
    report = found.report
    assert len(report.rows) == 2 * 5
    assert report.max_views is None
    assert (report.train_objects, report.test_objects) == (24, 9)
    assert report.data_digest == tiny_pack.manifest.pack_digest
    assert report.row("svm", "all").accuracy.mean > 0.6  # a box, a disc and a rod differ even to random weights
    assert report.deciding.shape == report.baseline.shape == (3, 9)
    assert set(found.pictures) == {"embedding.png", "pca.png", "confusion.png", "accuracy.png"}
    assert all(data.startswith(b"\x89PNG") and len(data) > 5000 for data in found.pictures.values())
    assert ProbingReport.from_json(json.dumps(json.loads(report.to_json()), indent=1)) == report


def test_images_are_evaluated_by_number_of_views(tiny_pack):
    report = evaluated(0, IMAGE_CARD, tiny_pack).report
    assert sorted({row.views for row in report.rows}) == [1, 4]  # 16 and more are capped by the four there are
    assert report.max_views == 4
    found = {(row.probe, row.views, row.pooling) for row in report.rows}
    assert found == {
        *(("svm", views, pooling) for views, pooling in ((1, "max"), (4, "max"), (4, "mean"))),
        *(("one_scale_svm", 4, pooling) for pooling in ("max", "mean")),
        ("nearest", 4, "max"),
        *(("knn", views, "max") for views in (1, 4)),
        *(("linear", 4, pooling) for pooling in ("max", "mean")),
    }, "one view is pooled in one way; the linear probe reads all views"
    assert len(report.rows) == 2 * len(found)
    assert len({row.key for row in report.rows}) == len(report.rows)


def test_its_own_twin_is_no_better_than_itself(tiny_pack):
    same = EvaluationConfig(**{**CONFIG.model_dump(), "twin_seeds": (3,), "baselines": ("random_twins",)})
    report = evaluated(3, POINT_CARD, tiny_pack, same).report
    assert all(row.baselines["random twin"].difference.mean == 0 for row in report.rows)


def test_evaluation_repeats_itself_and_leaves_the_encoder_alone(tiny_pack):
    encoder = POINT_CARD.build(1).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    a = evaluate_encoder(encoder, POINT_CARD, tiny_pack, ALONE).report
    b = evaluate_encoder(encoder, POINT_CARD, tiny_pack, ALONE).report
    assert without_timings(a) == without_timings(b)
    assert encoder.training
    assert all((value == before[name]).all() for name, value in encoder.state_dict().items())
    assert (torch.get_rng_state() == state).all()
    assert all(row.baseline is None for row in a.rows)


@pytest.mark.parametrize("card", [POINT_CARD, pytest.param(IMAGE_CARD, marks=pytest.mark.slow)])
def test_progress_is_counted_beforehand_and_ends_whole(card, tiny_pack, tmp_path):
    config = CONFIG.model_copy(update={"sections": Sections(costs=None)})
    told: list[EvaluationProgress] = []
    for _ in range(2):  # the second time features are kept
        told.clear()
        context = Context("an encoder", "zero", FeatureCache(tmp_path), tell=told.append)
        evaluated(0, card, tiny_pack, config, context)
        assert {stand.total for stand in told} == {told[0].total}
        done = [stand.done for stand in told]
        assert done == sorted(done)
        assert done[0] == 0
        assert done[-1] == told[0].total
        assert {stand.title for stand in told} == {"an encoder"}
    assert {"features of the encoder", "features of the baseline: random twin", "probes", "retrieval"} <= {
        s.what for s in told
    }


def test_features_that_are_not_finite_give_a_report_without_rows(tiny_pack):
    encoder = POINT_CARD.build(0)
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    found = evaluate_encoder(encoder, POINT_CARD, tiny_pack, CONFIG)
    assert not found.report.health.finite
    assert found.report.rows == ()
    assert found.report.deciding is None
    assert "NaN" in found.report.defects[0]
    assert found.pictures == {}


def test_an_encoder_the_pack_cannot_serve(tiny_pack):
    many = POINTS.model_copy(update={"num_points": 5000})
    with pytest.raises(InfeasibleError):
        evaluated(0, encoder_card(many, POINT_BACKBONE), tiny_pack)


def test_view_subsets_are_nested_seeded_and_different():
    one, four = view_subsets(12, 1, 3), view_subsets(12, 4, 3)
    assert [len(subset) for subset in four] == [4, 4, 4]
    assert all(set(a) <= set(b) for a, b in zip(one, four, strict=True))
    assert len({tuple(subset) for subset in four}) == 3
    assert [subset.tolist() for subset in view_subsets(12, 12, 3)] == [list(range(12))]


def test_mean_pooling_is_the_mean_and_maximum_the_maximum():
    views = np.random.default_rng(0).normal(size=(7, 9, 5)).astype(np.float32)
    before = views.copy()
    for subset in (np.array([4]), np.array([0, 3, 8]), np.arange(9)):
        np.testing.assert_allclose(pool(views, subset, "mean"), views[:, subset].mean(axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(pool(views, subset, "max"), views[:, subset].max(axis=1))
    np.testing.assert_array_equal(views, before)


def test_another_draw_seed_draws_labels_points_and_views_afresh(tiny_pack):
    config = CONFIG.model_copy(update={"twin_seeds": (), "views": (1, 2)})
    again = config.model_copy(update={"draw_seed": 1})
    first, second = (evaluated(0, POINT_CARD, tiny_pack, each) for each in (config, again))
    assert first.report.objects_digest != second.report.objects_digest
    lists = [ObjectLists.from_json(found.files[OBJECTS_FILE]) for found in (first, second)]
    assert set(lists[0].point_draws) & set(lists[1].point_draws) == set()
    draws = [{item.train for item in found.label_draws if item.labels != "all"} for found in lists]
    assert draws[0] != draws[1]
    assert lists[0].test == lists[1].test
    assert not first.report.comparable(second.report), "paired means the same draws"
    assert [view_subsets(9, 2, [config.view_seed(draw)])[0].tolist() for draw in range(3)] != [
        view_subsets(9, 2, [again.view_seed(draw)])[0].tolist() for draw in range(3)
    ]


def test_the_lists_name_every_object_of_every_draw(tiny_pack):
    found = evaluated(0, POINT_CARD, tiny_pack, ALONE)
    lists = ObjectLists.from_json(found.files[OBJECTS_FILE])
    assert lists.digest() == found.report.objects_digest
    assert len(lists.train) == found.report.train_objects
    assert len(lists.test) == found.report.test_objects
    assert not set(lists.train) & set(lists.test)
    assert all("/test/" in key for key in lists.test)
    for draw in range(3):
        keys = lists.labelled("2 per class", draw)
        assert len(set(keys)) == 6
        assert sorted(key.split("/")[0] for key in keys) == ["box", "box", "disc", "disc", "rod", "rod"]
    assert lists.labelled("all", 0) == lists.train, "nothing is dropped"
    with pytest.raises(KeyError):
        lists.labelled("2 per class", 3)


@pytest.mark.parametrize("card", [POINT_CARD, pytest.param(IMAGE_CARD, marks=pytest.mark.slow)])
def test_kept_features_change_nothing_and_spare_everything(card, tiny_pack, tmp_path):
    config = EvaluationConfig(
        label_settings=CONFIG.label_settings,
        point_draws=2,
        twin_seeds=(5,),
        sections=Sections(costs=None, retrieval=None),
    )
    plain = evaluated(0, card, tiny_pack, config).report
    cache = FeatureCache(tmp_path)
    first = evaluated(0, card, tiny_pack, config, Context("", "zero", cache)).report
    again = evaluated(0, card, tiny_pack, config, Context("", "zero", cache)).report
    assert without_timings(first) == without_timings(again) == without_timings(plain)
    assert first.extraction.kept == 0
    assert (again.extraction.computed, again.extraction.kept) == (0, first.extraction.computed)
    assert 0 < again.share_saved < 1
    other = evaluated(1, card, tiny_pack, config, Context("", "one", cache))
    assert other.report.health != first.health
    assert other.report.extraction.kept > 0, "its twins are the same"


def test_principal_components_keep_what_varies_most():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 1)) @ np.array([[1.0, -2.0, 1.5, 1.0, -1.0, 2.0]]) + 0.01 * rng.normal(size=(50, 6))
    places, shares = principal_components(x)
    assert shares[0] > 0.99
    assert shares.sum() <= 1
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    apart, shown = (np.linalg.norm(y[:, None] - y[None], axis=-1) for y in (standard, places))
    np.testing.assert_allclose(apart, shown, atol=0.2)
    assert principal_components(np.ones((5, 3)))[1].tolist() == [0, 0]
    assert principal_components(rng.normal(size=(5, 1)))[0].shape == (5, 2)
