"""The scene-field task: labels against truth, the teacher where there is none, colours without either; the gate."""

import numpy as np
import pytest
import torch

from registry.champions.compare import compare_reports, comparison_png
from registry.champions.gate import decide, decide_many
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError, RegistryError
from ssl_core.evaluation.label_metrics import Confusion
from ssl_core.evaluation.report import EvaluationProgress, psnr
from ssl_core.evaluation.task import parse_report, task_named, task_of
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.scene_field import evaluate_field
from ssl_core.evaluation.tasks.scene_field_report import TEACHER, UNTRAINED, SceneFieldConfig
from tests.small_fields import mislabelled, recoloured, true_field
from tests.small_rooms import small_rooms

CONFIG = SceneFieldConfig(twin_seeds=(11,))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> ScenePack:
    """Two rooms of 32 views each, four of them for test."""
    return small_rooms(tmp_path_factory.mktemp("rooms"), rooms=2, views=32)


def taught(rooms: ScenePack, wrong: float):
    """A true field that holds what a teacher said of the test views: the truth, but for a share of the pixels."""
    names = [rooms.manifest.views[i].name for i in rooms.views("test", 0)]
    field, card = true_field(rooms, teacher_views=names, teacher_size=(32, 32), teacher="an oracle")
    rng = np.random.default_rng(0)
    for place, view in enumerate(rooms.views("test", 0).tolist()):
        labels = rooms.labels(view)
        noisy = np.where(rng.random(labels.shape) < wrong, (labels + 1) % 3, labels).astype(np.uint8)
        field.get_buffer("teacher_labels")[place] = torch.from_numpy(noisy)
    return field, card


def test_labels_and_colours_are_measured_view_by_view_beside_the_teacher_and_untrained_fields(rooms) -> None:
    field, card = taught(rooms, wrong=0.7)
    told: list[EvaluationProgress] = []
    found = task_of(card).evaluate(field, card, rooms, CONFIG, Context("room/1", tell=told.append))
    report = found.report
    views = rooms.views("test", 0).tolist()
    assert report.deciding.shape == report.baseline.shape == (1, len(views))
    assert (report.against, report.deciding.unit, report.deciding.measure) == ("true labels", "test views", "mean iou")
    with torch.no_grad():
        drawn = [field.draw(rooms.camera(view)) for view in views]
    pairs = [(rooms.labels(view), each.label.numpy()) for view, each in zip(views, drawn, strict=True)]
    whole = Confusion.of(pairs, len(card.classes))
    assert report.rows[0].miou == pytest.approx(whole.miou)
    assert report.rows[0].accuracy == pytest.approx(whole.accuracy)
    assert whole.accuracy > 0.6
    single = [Confusion.of([pair], len(card.classes)).miou for pair in pairs]
    np.testing.assert_allclose(report.deciding.values[0], single, atol=1e-6)
    errors = [np.square(e.image.numpy() - rooms.image(v) / 255).mean() for v, e in zip(views, drawn, strict=True)]
    assert report.metrics()["scene_field/psnr"] == pytest.approx(psnr(np.mean(errors)), abs=1e-3)
    assert [row.name for row in report.rows] == ["this model", TEACHER, UNTRAINED]
    assert report.baseline_name == TEACHER
    assert report.rows[1].accuracy == pytest.approx(0.3, abs=0.05)
    assert report.agreement < report.rows[0].miou, "truth is nearer than what the noisy teacher says"
    assert report.defects == ()
    assert parse_report(report.to_json()) == report
    assert report.headline_text.startswith(f"mIoU {100 * whole.miou:.1f} % over 4 test views (teacher ")
    assert "as plain 3DGS" in report.markdown()
    assert found.pictures["views.png"].startswith(b"\x89PNG")
    assert (told[-1].done, told[-1].total) == (8, 8)


def test_a_pack_without_labels_is_asked_for_agreement_and_one_without_a_teacher_for_colours(rooms, monkeypatch) -> None:
    field, card = taught(rooms, wrong=0.1)
    bare, plain = true_field(rooms)
    monkeypatch.setattr(ScenePack, "labels", lambda self, index: None)
    report = evaluate_field(field, card, rooms, CONFIG).report
    assert report.against == "labels of the teacher"
    assert report.deciding.name.startswith("agreement with the teacher")
    assert report.headline_text.startswith("agreement with the teacher ")
    assert report.agreement == pytest.approx(report.rows[0].miou)
    assert TEACHER not in report.baselines
    assert "scene_field/miou" not in report.metrics()
    report = evaluate_field(bare, plain, rooms, CONFIG).report
    assert (report.against, report.deciding.measure) == ("colours", "squared error")
    assert report.headline_text.startswith("PSNR ")
    assert parse_report(report.to_json()) == report


def test_a_teacher_that_is_the_truth_is_shown_and_no_line_to_be_passed(rooms) -> None:
    field, card = taught(rooms, wrong=0.0)
    report = evaluate_field(field, card, rooms, CONFIG).report
    assert report.rows[1].miou == 1.0
    assert set(report.baselines) == {UNTRAINED}


def test_the_gate_takes_the_better_field_by_the_same_rules_as_encoders(rooms) -> None:
    good, card = taught(rooms, wrong=0.6)
    fields = (good, *(mislabelled(taught(rooms, wrong=0.6)[0], share) for share in (0.7, 1.0)))
    best, off, worse = (evaluate_field(field, card, rooms, CONFIG).report for field in fields)
    assert decide(best, None).promoted
    assert not decide(worse, None).promoted, "below its own teacher"
    won = decide(best, off)
    assert won.promoted
    assert won.numbers["low"] > 0
    assert not decide(off, best).promoted
    assert not decide(best, best).promoted
    assert [each.promoted for each in decide_many([worse, best], off)] == [False, True]
    found = compare_reports(best, off, ("a/1", "a/2"))
    assert found.verdict.startswith("a/1 is better than a/2: +")
    assert found.test_units == "4 test views"
    assert comparison_png(found).startswith(b"\x89PNG")


def test_a_field_of_one_colour_one_label_or_of_none_is_no_field(rooms) -> None:
    for change, word in (("colour", "one colour"), ("label", "one label"), ("nan", "NaN")):
        field, card = true_field(rooms, stride=4)
        with torch.no_grad():
            match change:
                case "colour":
                    field.sh.zero_()
                    field.log_scales.fill_(0.5)
                case "label":
                    field.channels[:] = field.channels[0]
                    field.log_scales.fill_(0.5)
                case _:
                    field.sh.fill_(torch.nan)
        report = evaluate_field(field, card, rooms, CONFIG).report
        decision = decide(report, None)
        assert not decision.promoted
        assert word in decision.reason


def test_colours_count_for_a_field_without_classes(rooms) -> None:
    reports = []
    for amount in (0.0, 2.0):
        field, card = true_field(rooms, labelled=False)
        reports.append(evaluate_field(recoloured(field, amount), card, rooms, CONFIG).report)
    good, off = reports
    assert decide(good, off).promoted
    assert not decide(off, good).promoted
    assert good.metrics()["scene_field/psnr"] > off.metrics()["scene_field/psnr"]


def test_what_does_not_fit_together_is_said(rooms, tiny_pack) -> None:
    field, card = true_field(rooms, stride=8)
    with pytest.raises(InfeasibleError, match="on a pack of a scene"):
        task_of(card).evaluate(field, card, tiny_pack, CONFIG, Context())
    with pytest.raises(RegistryError, match="upgrade"):
        task_named("hologram")
    for other, word in (
        (card.model_copy(update={"scene": "attic"}), "has no scene 'attic', but room_000"),
        (card.model_copy(update={"classes": card.classes[::-1]}), "has the classes wall"),
    ):
        with pytest.raises(InfeasibleError, match=word):
            evaluate_field(field, other, rooms, CONFIG)
