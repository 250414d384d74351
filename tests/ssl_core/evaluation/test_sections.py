"""The sections of an evaluation on a small pack: what they answer, what they leave out and why."""

import numpy as np
import pytest
from tiny_bundles import IMAGE, IMAGE_BACKBONE, POINT_BACKBONE, POINTS

from ssl_core.contracts import PointsContract
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.fine_tune import FineTuningConfig
from ssl_core.evaluation.fine_tuning_plan import FineTuningSettings, training_of
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS, Sections
from ssl_core.evaluation.sections.costs import CostSettings
from ssl_core.evaluation.sections.drift import DriftSettings, drift
from ssl_core.evaluation.sections.novel_views import NovelViewSettings
from ssl_core.evaluation.sections.retrieval import RetrievalSettings, aligned
from ssl_core.evaluation.sections.robustness import DroppedPoints, FewerViews, Jitter, RobustnessSettings
from ssl_core.evaluation.task_contract import Companion, Context
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.cards import encoder_card

LABELS = (LabelSetting(per_class=2, draws=3), LabelSetting())
TRAINING = FineTuningConfig(epochs=2, batch_size=8, test_draws=1, test_views=2)


def config(**sections: object) -> EvaluationConfig:
    asked = NO_SECTIONS.model_copy(update=sections)
    return EvaluationConfig(label_settings=LABELS, probes=("svm",), point_draws=2, view_draws=1, sections=asked)


CARDS = {"points": encoder_card(POINTS, POINT_BACKBONE), "image": encoder_card(IMAGE, IMAGE_BACKBONE)}


def measured(pack, modality: str, partner: str | None = None, **sections: object):
    card = CARDS[modality]
    companions = (Companion(CARDS[partner].build(1), CARDS[partner]),) if partner else ()
    asked = config(**sections).model_copy(update={"baselines": ()})
    found = evaluate_encoder(card.build(0), card, pack, asked, Context(companions=companions))
    return found.report, found.pictures


def test_a_section_that_is_not_asked_for_is_not_measured(tiny_pack):
    report, _ = measured(tiny_pack, "points")
    assert [value for name, value in report.sections if name != "left_out"] == [None] * 6
    assert report.sections.left_out == {}
    assert report.sections.markdown() == ""


@pytest.mark.parametrize(("modality", "kind"), [("points", "across point draws"), ("image", "across views")])
def test_objects_are_found_among_test_objects(tiny_pack, modality, kind):
    report, pictures = measured(tiny_pack, modality, retrieval=RetrievalSettings(ks=(1, 3)))
    rows = {row.relevant: row for row in report.sections.retrieval if row.kind == kind}
    assert set(rows) == {"same object", "same class"}
    members = 1 if modality == "points" else 3
    for row in rows.values():
        assert (row.queries, row.gallery) == (9, 9 * members)
        assert list(row.recall) == ["1", "3"]
        assert row.recall["1"].mean <= row.recall["3"].mean
        assert 0 <= row.average_precision.low <= row.average_precision.mean <= row.average_precision.high <= 1
    assert rows["same object"].relevant_share == pytest.approx(1 / 9)
    assert rows["same class"].relevant_share == pytest.approx(2 / 9)
    assert pictures["retrieval.png"].startswith(b"\x89PNG")
    assert "no encoder of the other modality" in report.sections.left_out["retrieval"]
    parts = {row.relevant: row for row in report.sections.retrieval if row.kind == "wholes by parts"}
    assert set(parts) == (set(rows) if modality == "points" else set())
    assert {(row.queries, row.gallery) for row in parts.values()} <= {(9, 9)}


def test_drift_is_told_of_points_and_left_to_nobody_of_images(tiny_pack):
    points, _ = measured(tiny_pack, "points", drift=DriftSettings())
    found = points.sections.drift
    assert 0 < found.distance.low <= found.distance.mean < 1, "draws of an object are nearer than objects"
    assert found.same_cosine.mean > found.other_cosine
    assert points.metrics()["drift/distance"] == found.distance.mean
    assert "Drift under re-sampling" in points.markdown()
    images, _ = measured(tiny_pack, "image", drift=DriftSettings())
    assert (images.sections.drift, images.sections.left_out) == (None, {})


def test_drift_is_the_plain_ratio_of_distances_and_knows_no_scale():
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=(6, 4)).astype(np.float32) for _ in range(3)]
    own = np.mean([np.linalg.norm(draws[i][k] - draws[j][k]) for i, j in ((0, 1), (0, 2), (1, 2)) for k in range(6)])
    other = np.mean([np.linalg.norm(x[i] - x[j]) for x in draws for i in range(6) for j in range(6) if i != j])
    found = drift(draws)
    assert found.distance.mean == pytest.approx(own / other, rel=1e-5)
    pairs = [
        x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for x in draws for i in range(6) for j in range(i)
    ]
    assert found.other_cosine == pytest.approx(np.mean(pairs), rel=1e-4)
    assert drift([100 * x for x in draws]).distance.mean == pytest.approx(found.distance.mean, rel=1e-5)
    same = drift([draws[0]] * 2)
    assert (same.distance.mean, same.same_cosine.mean) == (0.0, pytest.approx(1.0))
    with pytest.raises(InfeasibleError, match="the same features"):
        drift([np.ones((3, 2), dtype=np.float32)] * 2)


def test_points_and_images_find_each_other_alike_from_either_side(tiny_pack):
    """Features of 64 and 512: no space is shared, one is made of training objects."""
    settings = RetrievalSettings(ks=(1,))
    points, _ = measured(tiny_pack, "points", "image", retrieval=settings)
    across = [row for row in points.sections.retrieval if "to" in row.kind.split()]
    assert {(row.kind, row.space) for row in across} == {
        ("points to images", "aligned"),
        ("images to points", "aligned"),
    }
    assert {row.gallery for row in across} == {9}
    assert points.sections.left_out == {}


def test_a_linear_map_between_two_views_of_one_cause_is_found():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(120, 4)).astype(np.float32)
    points, images = cause @ rng.normal(size=(4, 12)), cause @ rng.normal(size=(4, 7))
    mapped, targets = aligned(points.astype(np.float32), images.astype(np.float32), 80)
    assert mapped.shape == targets.shape == (40, 7)
    nearest = (mapped @ targets.T / np.linalg.norm(targets, axis=1)).argmax(axis=1)
    assert (nearest == np.arange(40)).mean() > 0.9


def test_disturbed_points_lose_and_the_loss_is_paired(tiny_pack):
    levels = RobustnessSettings(disturbances=(DroppedPoints(share=0.1), Jitter(sd=1.0), FewerViews(views=1)))
    report, _ = measured(tiny_pack, "points", robustness=levels)
    mild, severe = report.sections.robustness
    assert (mild.disturbance, severe.disturbance) == tuple(each.name for each in levels.disturbances[:2])
    clean = np.mean(report.full_labels.values)
    assert mild.accuracy.mean >= severe.accuracy.mean
    assert severe.loss.mean > 0.1
    for row in (mild, severe):  # the report's own number is the mean of two point draws, the section takes the first
        assert row.accuracy.mean + row.loss.mean == pytest.approx(clean, abs=0.12)


def test_fewer_views_are_asked_of_images_and_more_than_there_are_is_no_disturbance(tiny_pack):
    levels = RobustnessSettings(disturbances=(Jitter(sd=0.1), FewerViews(views=1), FewerViews(views=4)))
    report, _ = measured(tiny_pack, "image", robustness=levels)
    assert [row.disturbance for row in report.sections.robustness] == ["1 view"]
    nothing, _ = measured(tiny_pack, "image", robustness=RobustnessSettings(disturbances=(Jitter(sd=0.1),)))
    assert nothing.sections.robustness is None
    assert "no disturbance" in nothing.sections.left_out["robustness"]


def test_a_contract_that_cannot_be_turned_says_so(tiny_pack):
    contract = PointsContract(num_points=64, features=("xyz", "reference_color"))
    card = encoder_card(contract, POINT_BACKBONE)
    asked = config(robustness=RobustnessSettings()).model_copy(update={"baselines": ()})
    report = evaluate_encoder(card.build(0), card, tiny_pack, asked).report
    assert report.sections.robustness
    assert "in part: turned" in report.sections.left_out["robustness"]


def test_novel_views_are_set_beside_as_many_own_ones(tiny_pack):
    report, _ = measured(tiny_pack, "image", novel_views=NovelViewSettings(views=2))
    rows = report.sections.novel_views
    assert [row.labels for row in rows] == ["2 per class", "all"]
    for row in rows:
        assert row.views == 2
        assert row.loss.mean == pytest.approx(row.own.mean - row.accuracy.mean)
    points, _ = measured(tiny_pack, "points", novel_views=NovelViewSettings(views=2))
    assert points.sections.novel_views is None
    assert points.sections.left_out["novel_views"] == "a point encoder sees no views"


@pytest.mark.parametrize("modality", ["points", pytest.param("image", marks=pytest.mark.slow)])
def test_fine_tuning_has_its_control(tiny_pack, modality):
    settings = FineTuningSettings(label_settings=LABELS[1:], seeds=(0, 1), training=TRAINING, min_steps=1)
    report, _ = measured(tiny_pack, modality, fine_tuning=settings)
    (row,) = report.sections.fine_tuning
    assert (row.labels, row.runs, row.epochs, row.over) == ("all", 2, 2, "test objects")
    assert row.gain.mean == pytest.approx(row.accuracy.mean - row.scratch.mean)
    if 0 < row.accuracy.mean < 1:
        assert row.accuracy.low < row.accuracy.mean < row.accuracy.high  # though both seeds may say the same


def test_few_labels_are_passed_over_more_often():
    settings = FineTuningSettings(training=FineTuningConfig(epochs=30, batch_size=32), min_steps=300)
    assert training_of(settings, 50).epochs == 150
    assert training_of(settings, 500).epochs == 30


def test_costs_are_counted(tiny_pack):
    report, _ = measured(tiny_pack, "points", costs=CostSettings(batches=(1, 4), seconds=0.01))
    costs = report.sections.costs
    assert [each.batch for each in costs.latencies] == [1, 4]
    assert costs.parameters == sum(parameter.numel() for parameter in CARDS["points"].build(0).parameters())


def test_tables_and_metrics_say_all_of_it(tiny_pack):
    everything = {
        "retrieval": RetrievalSettings(ks=(1,)),
        "robustness": RobustnessSettings(disturbances=(FewerViews(views=1),)),
        "costs": CostSettings(batches=(1,), seconds=0.01),
        "novel_views": NovelViewSettings(views=1),
        "fine_tuning": FineTuningSettings(label_settings=LABELS[1:], seeds=(0,), training=TRAINING, min_steps=1),
    }
    report, _ = measured(tiny_pack, "image", "points", **everything)
    assert Sections(**everything, drift=None) == report.config.sections
    assert len(report.sections.tables()) == 5
    assert report.sections.left_out == {}
    assert set(report.section_seconds) == set(everything)
    text = report.sections.markdown()
    for words in ("mAP", "recall@1", "1 view", "novel views", "from scratch", "parameters"):
        assert words in text
    for line in text.splitlines():
        assert line.count("|") in {line.count("|"), 0}
    metrics = report.sections.metrics()
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./")
    assert all(set(name) <= allowed and np.isfinite(value) for name, value in metrics.items())
    assert {name.split("/")[0] for name in metrics} == set(everything)
