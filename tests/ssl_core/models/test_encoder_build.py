"""What `build` refuses and what it leaves alone."""

import pytest
import torch

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.build import Encoder, FusionNetwork, build_point_encoder
from ssl_core.models.cards import encoder_card
from ssl_core.models.dgcnn import DGCNNConfig
from ssl_core.models.image import ResNetConfig
from ssl_core.models.pointnet import PointNetConfig

torch.set_num_threads(1)


@pytest.mark.parametrize("features", [("scale", "xyz"), ("scale",), ()])
def test_positions_must_come_first(features: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="put xyz first"):
        build_point_encoder(PointsContract(features=features), PointNetConfig(), seed=0)


def test_a_group_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="named twice"):
        build_point_encoder(PointsContract(features=("xyz", "scale", "scale")), PointNetConfig(), seed=0)


@pytest.mark.parametrize(
    ("contract", "backbone"), [(ImageContract(), DGCNNConfig()), (PointsContract(), ResNetConfig())]
)
def test_modality_and_backbone_must_fit(contract, backbone) -> None:
    with pytest.raises(ConfigError, match=f"'{backbone.kind}' does not read {contract.modality}"):
        encoder_card(contract, backbone).build(0)


def test_other_numbers_of_points_are_welcome_and_no_points_are_not() -> None:
    encoder = build_point_encoder(PointsContract(num_points=64), PointNetConfig(), seed=0).eval()
    with torch.no_grad():
        assert encoder(torch.rand(2, 10, 3)).shape == (2, 512)
        with pytest.raises(ConfigError, match=r"got \[2, 0, 3\]"):
            encoder(torch.rand(2, 0, 3))


def test_mean_and_std_are_contract_not_weights() -> None:
    contract = ImageContract(image_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    encoder = Encoder(contract, torch.nn.Identity(), 3)
    x = torch.rand(2, 3, 8, 8)
    expected = torch.stack([(x[:, c] - contract.mean[c]) / contract.std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(encoder(x), expected)
    assert not encoder.state_dict()


def test_fusion_is_two_layers_on_both_features() -> None:
    torch.manual_seed(0)
    fusion = FusionNetwork(5, 7, hidden=11)
    image, points = torch.rand(3, 5), torch.rand(3, 7)
    hidden = torch.cat([image, points], 1) @ fusion.hidden.weight.T + fusion.hidden.bias
    expected = hidden.clamp(min=0) @ fusion.output.weight.T + fusion.output.bias
    torch.testing.assert_close(fusion(image, points), expected)
