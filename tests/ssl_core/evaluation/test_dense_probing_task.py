"""The dense probing task: rows, what a fine-tuned encoder has to beat, defects, what packs cannot serve."""

import pytest
import torch
from torch import nn

from ssl_core.data.scene_pack import ScenePack, ScenePackConfig
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_probes import DenseProbeConfig
from ssl_core.evaluation.task import parse_report, task_of
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.dense_probing import ALONE, ORIGINAL, TWICE, UNTRAINED, evaluate_dense
from ssl_core.evaluation.tasks.dense_report import DenseProbingConfig
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import HeadTuning
from ssl_core.models.dense_networks import DenseMapConfig
from ssl_core.models.small_cnn import SmallCnnConfig
from ssl_core.packing.scene_writer import write_scene_pack
from tests.small_sets import write_scene

torch.set_num_threads(1)
MAP = DenseMapConfig(network=SmallCnnConfig(channels=(6, 8)), stride=4, channels=8)
CARD = DenseEncoderCard(height=32, width=32, backbone=MAP, tuning=HeadTuning(hidden=8))
ASKED = DenseProbingConfig(probe=DenseProbeConfig(steps=4, bins=4), probe_seeds=(0, 1), twin_seeds=(0,))


@pytest.fixture
def pack(room_pack: ScenePack) -> ScenePack:
    return room_pack


def test_a_fine_tuned_encoder_stands_beside_the_network_that_it_began_at(pack: ScenePack) -> None:
    found = evaluate_dense(CARD.build(0).eval(), CARD, pack, ASKED)
    report = found.report
    assert [row.name for row in report.rows] == ["original ⊕ fine-tuned", ALONE, ORIGINAL, TWICE]
    assert [row.width for row in report.rows] == [16, 8, 8, 16]
    by_name = {row.name: row for row in report.rows}
    # nothing was trained: the fine-tuned tokens are the original ones, and both together are those twice
    for mine, other in ((ALONE, ORIGINAL), ("original ⊕ fine-tuned", TWICE)):
        assert by_name[mine].metrics == by_name[other].metrics
        assert by_name[mine].same_point == by_name[other].same_point
    assert report.baselines.keys() == {ORIGINAL, TWICE}
    assert report.deciding is not None
    assert report.baseline is not None
    assert report.deciding.shape == report.baseline.shape == (1, 8)
    assert report.deciding.measure == "mean iou"
    assert not report.defects
    assert len(report.scenes) == 1
    assert found.pictures["dense.png"].startswith(b"\x89PNG")
    assert "mIoU" in report.headline_text
    for text in (report.markdown(), str(report.tables()), str(report.metrics())):
        assert "nan" not in text.lower()
    assert parse_report(report.to_json()) == report
    assert report.comparable(report)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than all else."""
    monkeypatch.setattr("ssl_core.evaluation.tasks.dense_probing.dense_pictures", lambda *_: {})


@pytest.mark.usefixtures("undrawn")
def test_an_encoder_without_fine_tuned_tokens_stands_beside_untrained_networks(pack: ScenePack) -> None:
    card = CARD.original()
    report = evaluate_dense(card.build(7).eval(), card, pack, ASKED).report
    assert [row.name for row in report.rows] == [ORIGINAL, UNTRAINED]
    assert report.baselines.keys() == {UNTRAINED}


@pytest.mark.usefixtures("undrawn")
def test_collapsed_and_non_finite_tokens_are_defects(pack: ScenePack) -> None:
    encoder = CARD.build(0).eval()
    assert isinstance(encoder.fine, nn.Module)
    nn.init.constant_(encoder.fine.outer.bias, 1e6)
    assert "collapsed" in evaluate_dense(encoder, CARD, pack, ASKED).report.defects[0]
    nn.init.constant_(encoder.fine.outer.bias, float("nan"))
    report = evaluate_dense(encoder, CARD, pack, ASKED).report
    assert report.deciding is None
    assert report.rows == ()
    assert "NaN" in report.defects[0]
    assert "no result" in report.headline_text


def test_what_a_pack_lacks_is_said(tmp_path) -> None:
    scene = write_scene_pack(write_scene(tmp_path / "scene"), tmp_path / "pack", ScenePackConfig(holdout=4))
    task = task_of(CARD)
    with pytest.raises(InfeasibleError, match="neither labels nor depth"):
        task.evaluate(CARD.build(0).eval(), CARD, scene, ASKED, Context())
