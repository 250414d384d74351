"""Encoders over one frozen network: its features are computed once, and what is read out of them is the same."""

import numpy as np
import torch
from torch import nn

from ssl_core.contracts import ImageContract
from ssl_core.data.object_pack import Pack
from ssl_core.evaluation import baselines
from ssl_core.evaluation.baselines import baselines_of, calibrate
from ssl_core.evaluation.extract import FeatureCache, image_features
from ssl_core.evaluation.features import FeatureSource
from ssl_core.evaluation.frozen_network import frozen_identity, frozen_network, random_read_out
from ssl_core.evaluation.protocol import LabelSetting
from ssl_core.evaluation.report import Steps
from ssl_core.evaluation.sections.all_sections import NO_SECTIONS
from ssl_core.evaluation.task_contract import Context
from ssl_core.evaluation.tasks.probing import evaluate_encoder
from ssl_core.evaluation.tasks.probing_report import EvaluationConfig
from ssl_core.models.build import Encoder
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.readout import ReadoutConfig
from ssl_core.models.small_cnn import SmallCnnConfig

IMAGE = ImageContract(image_size=24, mean=(0.5, 0.5, 0.5))
CARD = ImageEncoderCard(
    contract=IMAGE, backbone=SmallCnnConfig(), readout=ReadoutConfig(hidden=8, output=4), frozen_backbone=True
)
PARTS = (("hidden",), ("head",), ("backbone", "hidden"), ("ridge",))
CONFIG = EvaluationConfig(
    label_settings=(LabelSetting(per_class=2, draws=2),), probes=("svm",), views=(2, 4), view_draws=1, point_draws=1,
    twin_seeds=(5, 6), sections=NO_SECTIONS,
)  # fmt: skip


class Counted(nn.Module):
    """A network that counts its forwards."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forwards = network, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        return self.network(x)


def encoders(network: nn.Module, cards: list[ImageEncoderCard]) -> list[Encoder]:
    """One for each card, over the same network."""
    made = [card.build(seed) for seed, card in enumerate(cards)]
    for one in made:
        one.backbone.backbone = network
        for layer in one.modules():  # statistics as after training
            if isinstance(layer, nn.BatchNorm1d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
    return made


def source_of(pack: Pack, card: ImageEncoderCard, cache: FeatureCache | None) -> FeatureSource:
    return FeatureSource(pack, pack.objects("test"), card, CONFIG, cache)


def test_one_pass_of_the_network_serves_all_read_outs_and_says_what_each_encoder_says(tiny_pack, tmp_path):
    """The slow twin is the whole encoder on every view."""
    cards = [CARD.model_copy(update={"readout": CARD.readout.model_copy(update={"parts": parts})}) for parts in PARTS]
    network, cache = Counted(CARD.untrained().build(0).backbone), FeatureCache(tmp_path / "features")
    whole = encoders(network, cards)
    expected = [image_features(one, tiny_pack, tiny_pack.objects("test"), IMAGE.image_size) for one in whole]
    once, network.forwards = network.forwards // len(cards), 0
    for card, encoder, wanted in zip(cards, whole, expected, strict=True):
        found = source_of(tiny_pack, card, cache).raw(encoder, f"identity {card.digest()}").views
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert network.forwards == once


def test_encoders_over_other_networks_share_nothing(tiny_pack, tmp_path):
    cache = FeatureCache(tmp_path / "features")
    for seed in (0, 1):
        (encoder,) = encoders(CARD.untrained().build(seed).backbone, [CARD])
        found = source_of(tiny_pack, CARD, cache).raw(encoder, "same").views
        wanted = image_features(encoder, tiny_pack, tiny_pack.objects("test"), IMAGE.image_size)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_network_is_known_by_its_weights_and_what_is_done_to_the_input():
    parts = frozen_network(CARD, CARD.build(0))
    again, other = frozen_network(CARD, CARD.build(0)), frozen_network(CARD, CARD.build(1))
    assert frozen_identity(parts.network) == frozen_identity(again.network) != frozen_identity(other.network)
    scaled = CARD.model_copy(update={"contract": IMAGE.model_copy(update={"std": (2.0, 2.0, 2.0)})})
    assert frozen_identity(frozen_network(scaled, scaled.build(0)).network) != frozen_identity(parts.network)


def test_an_encoder_that_was_trained_whole_stays_in_one_piece():
    trained = CARD.model_copy(update={"frozen_backbone": False})
    assert frozen_network(trained, trained.build(0)) is None
    assert frozen_network(CARD, CARD.untrained().build(0)) is None, "nothing is read out over it"


def test_twins_of_a_read_out_are_random_read_outs_over_the_same_network(tiny_pack):
    """As they were initialised, and with statistics of what the network says of training objects."""
    train, card = tiny_pack.objects("train"), CARD
    encoder, source = card.build(0), FeatureSource(tiny_pack, tiny_pack.objects("train"), card, CONFIG)
    found = {one.name: one for one in baselines_of(source, encoder, len(train))[0]}
    network = Encoder(IMAGE, encoder.backbone.backbone, card.backbone.feature_dim).eval()
    views = image_features(network, tiny_pack, train, IMAGE.image_size)
    for name in ("random twin", "random twin, calibrated"):
        assert (found[name].members, found[name].batches, found[name].everywhere) == (2, 0, False)
        for seed, cells in zip(CONFIG.twin_seeds, found[name].measure(Steps()), strict=True):
            twin = random_read_out(card, seed).eval()
            if "calibrated" in name:
                layer = twin.hidden.norm
                spread = twin.hidden.linear(torch.from_numpy(views)).flatten(0, 1).var(dim=0)
                calibrate(twin, [torch.from_numpy(views).flatten(0, 1)])
                torch.testing.assert_close(layer.running_var, spread.detach())
            wanted = twin(torch.from_numpy(views).flatten(0, 1)).unflatten(0, views.shape[:2]).amax(dim=1).detach()
            (most,) = cells["max"].values()
            if "calibrated" not in name:
                np.testing.assert_allclose(most[0], wanted, rtol=1e-5, atol=1e-5)
            else:  # by one view of each object, so about the same
                assert np.corrcoef(most[0].ravel(), wanted.numpy().ravel())[0, 1] > 0.9


def test_the_network_itself_is_probed_wherever_the_encoder_is(tiny_pack, monkeypatch, tmp_path):
    encoder = CARD.build(0)
    network = encoder.backbone.backbone = Counted(encoder.backbone.backbone)
    own = frozen_network(CARD, encoder).network
    monkeypatch.setattr(baselines, "teacher_card", lambda settings: CARD.untrained())
    monkeypatch.setattr(baselines, "build_teacher", lambda settings: own)
    report = evaluate_encoder(encoder, CARD, tiny_pack, CONFIG, Context(cache=FeatureCache(tmp_path))).report
    objects = np.concatenate([tiny_pack.objects("train"), tiny_pack.objects("test")])
    whole, network.forwards = network.forwards, 0
    image_features(own, tiny_pack, objects, IMAGE.image_size)
    assert whole == network.forwards, "one pass for the encoder and all of its baselines"
    assert {row.views for row in report.rows} == {2, 4}
    for row in report.rows:
        assert "frozen ImageNet network" in row.baselines
        assert ("random twin" in row.baselines) == (row.views == 4 and row.pooling == "max")
