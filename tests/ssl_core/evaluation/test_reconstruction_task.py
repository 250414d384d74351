"""The reconstruction task: what sees beats what does not look, whatever frame it speaks; what cheats is found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from registry.champions.gate import decide
from ssl_core.contracts import PointsContract
from ssl_core.data.object_pack import Pack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.alignment import nearest_rotation
from ssl_core.evaluation.cloud_metrics import cloud_distances, unit_cube
from ssl_core.evaluation.constant_clouds import constant_clouds
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.task import parse_report, task_of
from ssl_core.evaluation.task_contract import Companion, Context
from ssl_core.evaluation.tasks.reconstructing import MEAN, MEDOID, UNTRAINED, evaluate_reconstructor
from ssl_core.evaluation.tasks.reconstruction_report import MODEL, ReconstructionConfig
from ssl_core.models.cards import encoder_card
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.reconstruction_cards import ReconstructorCard
from tests.reference.single_view_pack import POINTS, SIZE, Remembering, single_view_pack

torch.set_num_threads(1)
CARD = ReconstructorCard(image_size=SIZE, num_points=POINTS // 2, bottleneck=8, width=0.05)
CONFIG = ReconstructionConfig(points=POINTS, twin_seeds=(), matched=0, shown=0)
WHOLE = ReconstructionConfig(points=POINTS, twin_seeds=(0,), matched=2, shown=2)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    return single_view_pack(tmp_path_factory.mktemp("packs") / "shapes")


def oracle(pack: Pack, turn: Tensor, noise: float = 0.0) -> Remembering:
    """Half of the true points of every object, in another frame."""
    parts = [SingleViews(pack, CARD, split, 0) for split in ("val", "test")]
    clouds = torch.cat([part.clouds(POINTS)[:, ::2] for part in parts])
    clouds = clouds + noise * torch.randn(clouds.shape, generator=torch.Generator().manual_seed(0))
    colours = torch.full_like(clouds, 0.5)
    return Remembering(torch.cat([part.images() for part in parts]), torch.cat((clouds @ turn.T, colours), dim=2))


def turn(seed: int) -> Tensor:
    return nearest_rotation(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))


def test_what_sees_beats_every_constant_cloud_whatever_its_frame_and_its_scale(pack):
    told = []
    found = task_of(CARD).evaluate(oracle(pack, 3 * turn(1)), CARD, pack, WHOLE, Context(tell=told.append))
    report, straight = found.report, evaluate_reconstructor(oracle(pack, torch.eye(3)), CARD, pack, CONFIG).report
    assert report.deciding.shape == report.baseline.shape == (1, 6)
    assert report.deciding.measure == "chamfer distance"
    assert set(report.baselines) == {MEAN, MEDOID, UNTRAINED}
    np.testing.assert_allclose(report.deciding.values, straight.deciding.values, atol=2e-4)
    assert straight.alignment.degrees < 3
    assert straight.defects == report.defects == ()
    first = decide(straight, None)
    assert first.promoted, first.reason
    assert "CD-L2 x 1000" in first.reason
    assert parse_report(straight.to_json()) == straight
    assert f"over {len(straight.object_names)} test objects (" in straight.headline_text
    mine, theirs = straight.rows[0], straight.rows[1:]
    assert mine.name == MODEL
    assert all(mine.cd_l1.mean < row.cd_l1.mean and mine.f_2.mean > row.f_2.mean for row in theirs)
    assert all(row.mask_iou is None for row in theirs)
    assert mine.mask_iou > 0.4
    assert [row.class_name for row in straight.classes] == ["low", "tall"]
    assert straight.parts.reconstructed.mean > straight.parts.medoid.mean - 0.05
    assert set(found.pictures) == {"best.png", "worst.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in found.pictures.values())
    assert (told[-1].done, told[-1].total) == (5, 5)
    assert {"reconstruction/reconstructor/cd_l2", "reconstruction/mean_shape/cd_l2"} <= straight.metrics().keys()


def test_noise_costs_and_the_gate_sees_it(pack):
    good, off = (evaluate_reconstructor(oracle(pack, torch.eye(3), by), CARD, pack, CONFIG).report for by in (0, 0.1))
    assert good.deciding.mean > off.deciding.mean
    assert decide(good, off).promoted
    assert not decide(off, good).promoted


def test_a_mirrored_set_a_constant_cloud_and_nan_are_defects(pack):
    mirrored = evaluate_reconstructor(oracle(pack, torch.diag(torch.tensor([-1.0, 1, 1]))), CARD, pack, CONFIG).report
    assert "mirror" in decide(mirrored, None).reason
    same, broken = oracle(pack, torch.eye(3)), oracle(pack, torch.eye(3))
    same.answers.data = same.answers[:1].expand_as(same.answers).clone()
    broken.answers.data[0] = torch.nan
    for model, word in ((same, "same cloud"), (broken, "NaN")):
        decision = decide(evaluate_reconstructor(model, CARD, pack, CONFIG).report, None)
        assert not decision.promoted
        assert word in decision.reason


def test_the_mean_shape_is_nearer_to_the_training_objects_than_any_of_them(pack):
    truth = SingleViews(pack, CARD, "fit", 0).clouds(POINTS)
    found, cubes = constant_clouds(truth, POINTS), unit_cube(truth)
    means = {
        name: np.mean([each.cd_l2 for each in cloud_distances(cloud.expand_as(cubes), cubes)])
        for name, cloud in {"mean": found.mean, "medoid": found.medoid, "first": cubes[0]}.items()
    }
    assert means["mean"] < means["medoid"] <= means["first"] + 1e-6


@pytest.mark.slow
def test_a_point_encoder_is_asked_about_the_clouds(pack):
    asked = CONFIG.model_copy(update={"point_encoder": "points@champion"})
    assert asked.companions == ("points@champion",)
    assert asked.covers(CONFIG)
    assert not CONFIG.covers(asked)
    plain = PointNetConfig(input_transform=False, feature_transform=False, feature_dim=32)
    reports = []
    for features in (("xyz", "sh_dc"), ("xyz", "scale")):
        card = encoder_card(PointsContract(features=features, num_points=64), plain)
        context = Context(companions=(Companion(card.build(0), card),))
        reports.append(evaluate_reconstructor(oracle(pack, turn(2)), CARD, pack, asked, context).report)
    found, refused = reports
    assert (found.transfer.encoder, found.transfer.objects) == ("pointnet", 6)
    assert found.transfer.reconstructed.mean >= 0.5
    assert found.deciding == refused.deciding
    assert parse_report(found.to_json()) == found
    assert any("points@champion" in title for title, _, _ in found.tables())
    assert refused.transfer is None
    assert "scale" in refused.transfer_left_out


@pytest.mark.slow
def test_classes_of_the_card_alone_are_read(pack):
    card = CARD.model_copy(update={"classes": ("low",)})
    report = evaluate_reconstructor(oracle(pack, torch.eye(3)), card, pack, CONFIG).report
    assert {name.partition("/")[0] for name in report.object_names} == {"low"}
    assert report.classes == ()
    with pytest.raises(InfeasibleError, match="no class 'sofa'"):
        evaluate_reconstructor(oracle(pack, torch.eye(3)), CARD.model_copy(update={"classes": ("sofa",)}), pack, CONFIG)


def test_a_pack_without_masks_views_or_test_objects_is_refused(tmp_path: Path):
    model = CARD.build(0)
    for made, word in (
        (single_view_pack(tmp_path / "a", masks=False), "masks"),
        (single_view_pack(tmp_path / "b", views=0, cameras=False), "no view"),
        (single_view_pack(tmp_path / "c", splits=("fit", "val", "fit")), "split 'test'"),
    ):
        with pytest.raises(InfeasibleError, match=word):
            evaluate_reconstructor(model, CARD, made, CONFIG)


@pytest.mark.slow
def test_without_cameras_and_parts_their_numbers_are_left_out(tmp_path: Path):
    made = single_view_pack(tmp_path / "pack", cameras=False, parts=False)
    report = evaluate_reconstructor(oracle(made, torch.eye(3)), CARD, made, CONFIG).report
    assert report.rows[0].mask_iou is None
    assert report.parts is None
