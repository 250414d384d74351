"""Dense features: the maps that the network pools, and a clear word from those that have none."""

import pytest
import torch
from torch import nn

from ssl_core.contracts import ImageContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import Encoder, build_image_encoder
from ssl_core.models.dense_maps import dense_features
from ssl_core.models.image import ResNetConfig, TimmConfig
from ssl_core.models.readout import ReadoutConfig

CONTRACT = ImageContract(image_size=64, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


@pytest.mark.parametrize("readout", [None, ReadoutConfig(hidden=8, output=8)])
def test_the_last_map_of_a_resnet_pools_to_its_features(readout: ReadoutConfig | None) -> None:
    encoder = build_image_encoder(CONTRACT, ResNetConfig(), seed=0, readout=readout).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        sizes = {stride: tuple(dense_features(encoder, stride)(images).shape) for stride in (4, 8, 16, 32)}
        assert sizes == {4: (2, 64, 16, 16), 8: (2, 128, 8, 8), 16: (2, 256, 4, 4), 32: (2, 512, 2, 2)}
        network = encoder.backbone if readout is None else encoder.backbone.backbone
        pooled = dense_features(encoder, 32)(images).mean(dim=(2, 3))
        torch.testing.assert_close(pooled, network(encoder.normaliser(images)))


def test_timm_s_maps_are_what_its_blocks_give() -> None:
    pytest.importorskip("timm")
    encoder = build_image_encoder(CONTRACT, TimmConfig(), seed=0).eval()
    network, images, kept = encoder.backbone, torch.rand(1, 3, 64, 64), {}
    for number in (2, 4):
        network.blocks[number].register_forward_hook(lambda *a, number=number: kept.update({number: a[2]}))
    with torch.no_grad():
        encoder(images)
        wanted = dict(kept)
        for stride, number, shape in ((8, 2, (1, 40, 8, 8)), (16, 4, (1, 112, 4, 4))):
            found = dense_features(encoder, stride)(images)
            assert found.shape == shape
            assert torch.equal(found, wanted[number])
    with pytest.raises(ConfigError, match=r"no map of stride 64; set pairs\.stride to one of 2, 4, 8, 16, 32"):
        dense_features(encoder, 64)


def test_a_network_without_maps_says_so() -> None:
    flat = Encoder(CONTRACT, nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)), 4)
    with pytest.raises(ConfigError, match=r"has no dense maps.*loss\.local_weight to 0"):
        dense_features(flat, 16)
    with pytest.raises(ConfigError, match="takes"):
        dense_features(build_image_encoder(CONTRACT, ResNetConfig(), seed=0), 8)(torch.rand(1, 3, 32, 32))
