"""The pose task: errors count after one rotation of the objects' frame, and the gate decides by them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from registry.champions.gate import decide
from ssl_core.data.object_pack import Pack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.alignment import nearest_rotation, rotation_angle, rotation_angles
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.task import parse_report, task_of
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.pose import PoseConfig, evaluate_pose, frame_between
from ssl_core.models.reconstruction_cards import PoseEstimatorCard
from tests.reference.single_view_pack import SIZE, Remembering, single_view_pack

torch.set_num_threads(1)
CARD = PoseEstimatorCard(image_size=SIZE, width=0.05)
CONFIG = PoseConfig(twin_seeds=(0,))


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    return single_view_pack(tmp_path_factory.mktemp("packs") / "shapes")


def oracle(pack: Pack, aside: float, noise: float = 0.0) -> Remembering:
    """The true angles, `aside` radians further round."""
    parts = [SingleViews(pack, CARD, split, 0) for split in ("val", "test")]
    places = np.stack([camera.position for part in parts for camera in part.cameras()])
    azimuth = np.arctan2(places[:, 1], places[:, 0]) + aside
    elevation = np.arcsin(places[:, 2] / np.linalg.norm(places, axis=1))
    angles = torch.from_numpy(np.stack([azimuth, elevation], axis=1)).float()
    angles += noise * torch.randn(angles.shape, generator=torch.Generator().manual_seed(1))
    return Remembering(torch.cat([part.images() for part in parts]), angles)


def test_the_frame_between_two_sets_of_cameras_is_found_exactly():
    generator = torch.Generator().manual_seed(0)
    true = torch.stack([nearest_rotation(torch.randn(3, 3, generator=generator)) for _ in range(5)])
    frame = nearest_rotation(torch.randn(3, 3, generator=generator))
    assert rotation_angle(frame_between(true @ frame, true), frame) < 1e-3
    assert rotation_angles(true, true).max() < 1e-6
    half = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    assert rotation_angle(half, torch.eye(3)) == pytest.approx(math.pi)


def test_right_poses_in_another_frame_have_no_error(pack):
    report = task_of(CARD).evaluate(oracle(pack, 1.2), CARD, pack, CONFIG, Context()).report
    assert report.rows[0].median < 0.1
    assert report.rows[0].near.mean == 1
    assert report.deciding.shape == (1, 6)
    assert -report.deciding.mean < 1e-3
    assert report.rows[1].name == "constant pose"
    assert report.rows[1].median > 30
    assert report.defects == ()
    decision = decide(report, None)
    assert decision.promoted, decision.reason
    assert "°" in decision.reason
    assert parse_report(report.to_json()) == report
    assert "100.0 % within 30° over 6 test objects" in report.headline_text


def test_worse_poses_are_worse_and_one_pose_for_all_or_none_is_a_defect(pack):
    good, off = (evaluate_pose(oracle(pack, 0.0, by), CARD, pack, CONFIG).report for by in (0.02, 0.6))
    assert decide(good, off).promoted
    assert not decide(off, good).promoted
    same, broken = oracle(pack, 0.0), oracle(pack, 0.0)
    same.answers.data[:] = 0.3
    broken.answers.data[:] = torch.nan
    for model, word in ((same, "same pose"), (broken, "NaN")):
        assert word in decide(evaluate_pose(model, CARD, pack, CONFIG).report, None).reason


def test_a_pack_without_cameras_is_refused(tmp_path: Path):
    made = single_view_pack(tmp_path / "pack", cameras=False)
    with pytest.raises(InfeasibleError, match="no cameras"):
        evaluate_pose(CARD.build(0), CARD, made, CONFIG)
