"""Baselines: each is what it says, all are there, and the strongest is what the gate is given."""

import numpy as np
import pytest
import torch
from tiny_bundles import IMAGE, IMAGE_BACKBONE, POINT_BACKBONE, POINTS
from torch import nn

from ssl_core.errors import MissingDependencyError
from ssl_core.evaluation import baselines
from ssl_core.evaluation.baselines import LEVELS, Baseline, baselines_of, calibrate, coordinate_quantiles
from ssl_core.evaluation.extract import image_features
from ssl_core.evaluation.features import FeatureSource
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import Steps
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.build import Encoder
from ssl_core.models.cards import ImageEncoderCard, encoder_card
from ssl_core.models.readout import ReadoutConfig

POINT_CARD, IMAGE_CARD = encoder_card(POINTS, POINT_BACKBONE), encoder_card(IMAGE, IMAGE_BACKBONE)
CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=3), LabelSetting()),
    probes=("svm", "one_scale_svm"),
    point_draws=1,
    view_draws=1,
    twin_seeds=(5,),
    sections=NO_SECTIONS,
)


def test_coordinate_quantiles_are_those_of_each_axis():
    points = np.random.default_rng(0).normal(size=(4, 50, 3)).astype(np.float32)
    found = coordinate_quantiles(points)
    assert found.shape == (4, 21)
    for cloud, row in zip(points, found, strict=True):
        for axis in range(3):
            expected = [np.quantile(cloud[:, axis], level) for level in LEVELS]
            np.testing.assert_allclose(row[7 * axis : 7 * axis + 7], expected, rtol=1e-5)
    shuffled = points[:, np.random.default_rng(1).permutation(50)]
    np.testing.assert_allclose(coordinate_quantiles(shuffled), found, rtol=1e-6)


def test_calibrated_statistics_are_those_of_the_data_and_weights_stay():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2))
    data = torch.randn(6, 8, 3)
    before = {name: value.clone() for name, value in network.named_parameters()}
    calibrate(network, list(data))
    first = network[0](data)  # [6, 8, 4]
    torch.testing.assert_close(network[1].running_mean, first.mean(dim=(0, 1)))
    torch.testing.assert_close(network[1].running_var, first.var(dim=1).mean(dim=0))
    assert all((value == before[name]).all() for name, value in network.named_parameters())
    assert not any(module.training for module in network.modules())
    assert network[1].momentum == 0.1
    once = network[4].running_mean.clone()
    calibrate(network, list(data))
    torch.testing.assert_close(network[4].running_mean, once)  # of these data alone


def test_a_point_encoder_stands_beside_the_strongest_of_its_baselines(tiny_pack):
    report = evaluate_encoder(POINT_CARD.build(0), POINT_CARD, tiny_pack, CONFIG).report
    plain = {"random twin", "random twin, calibrated", "coordinate quantiles"}
    assert set(report.baselines) == {*plain, *(f"{name}, one scale" for name in plain)}
    best = max(report.baselines, key=lambda name: report.baselines[name].score.mean)
    assert report.baseline_name == report.headline.baseline_name == best
    assert report.baseline.mean == pytest.approx(report.baselines[best].score.mean, abs=1e-4)
    gain = report.baselines[best].difference.mean
    assert report.deciding.mean - report.baseline.mean == pytest.approx(gain, abs=1e-4)
    assert best in report.headline_text
    for row in report.rows:
        assert set(row.baselines) == (set(report.baselines) if row.probe == "svm" else plain)
        assert row.baseline.mean == max(one.score.mean for one in row.baselines.values())
    assert report.baselines_left_out == {}


def test_a_network_without_batch_statistics_has_no_calibrated_twin(tiny_pack, monkeypatch):
    source = FeatureSource(tiny_pack, tiny_pack.objects("train"), POINT_CARD, CONFIG)
    encoder = POINT_CARD.build(0)
    assert "random twin, calibrated" in {one.name for one in baselines_of(source, encoder, 24)[0]}
    monkeypatch.setattr(baselines, "_BatchNorm", nn.LSTM)
    assert "random twin, calibrated" not in {one.name for one in baselines_of(source, encoder, 24)[0]}


def test_the_frozen_network_is_left_out_where_its_weights_are_not_installed(tiny_pack, monkeypatch):
    def missing(teacher: object) -> None:
        raise MissingDependencyError("the extra `teachers` is not installed")

    monkeypatch.setattr(baselines, "build_teacher", missing)
    report = evaluate_encoder(IMAGE_CARD.build(0), IMAGE_CARD, tiny_pack, CONFIG).report
    assert {name.removesuffix(", one scale") for name in report.baselines} == {"random twin", "random twin, calibrated"}
    assert "not installed" in report.left_out["baseline frozen networks"]
    assert "not installed" in report.markdown()
    assert not report.complete


def test_the_frozen_network_under_a_head_is_a_baseline_of_its_own(tiny_pack, monkeypatch):
    """Unless it is the ImageNet network, which is there already; and only where the card says that it is frozen."""
    readout = ReadoutConfig(hidden=8, output=4)
    plain = IMAGE_CARD.model_copy(update={"readout": readout})
    card = plain.model_copy(update={"frozen_backbone": True})
    assert type(card).from_json(card.to_json()) == card
    assert "frozen_backbone" not in plain.to_json(), "cards of before keep their digests"
    encoder, objects = card.build(0), tiny_pack.objects("test")
    config = CONFIG.model_copy(update={"baselines": ("frozen_networks",)})

    def named(asked: ImageEncoderCard, teacher: Encoder) -> dict[str, Baseline]:
        monkeypatch.setattr(baselines, "teacher_card", lambda settings: IMAGE_CARD)
        monkeypatch.setattr(baselines, "build_teacher", lambda settings: teacher)
        found, left_out = baselines_of(FeatureSource(tiny_pack, objects, asked, config), encoder, 0)
        assert left_out == {}
        return {one.name: one for one in found}

    own = Encoder(IMAGE, encoder.backbone.backbone, 512)
    assert list(named(card, own)) == ["frozen ImageNet network"]
    assert list(named(plain, IMAGE_CARD.build(1))) == ["frozen ImageNet network"]
    found = named(card, IMAGE_CARD.build(1))
    assert list(found) == ["frozen ImageNet network", "frozen backbone"]
    (cells,) = found["frozen backbone"].measure(Steps())
    expected = image_features(own, tiny_pack, objects, IMAGE.image_size).max(axis=1)
    np.testing.assert_array_equal(cells["max"][4][0], expected)
