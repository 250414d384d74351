"""Contract + backbone config + seed -> Encoder, and the head that is trained with encoders and thrown away afterwards.

The seed decides every initial weight and touches no global state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, assert_never

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.errors import ConfigError
from ssl_core.models.dgcnn import DGCNN, DGCNNConfig
from ssl_core.models.image import ResNetConfig, TimmConfig, build_resnet, build_timm
from ssl_core.models.point_transformer import PointTransformer, PointTransformerConfig
from ssl_core.models.pointnet import PointNet, PointNetConfig
from ssl_core.models.pointnet2 import PointNet2, PointNet2MSGConfig, PointNet2SSGConfig
from ssl_core.models.readout import Head, ReadOut, ReadoutConfig
from ssl_core.models.reconstruction import ImageFeatures, ReconCnnConfig
from ssl_core.models.small_cnn import SmallCnn, SmallCnnConfig


class Encoder(nn.Module):
    """Contract + backbone. Final: to change behaviour, give another backbone.

    Args:
        contract: the input contract, which checks and normalises what `forward` takes.
        backbone: module from the normalised input to `[B, feature_dim]`.
        feature_dim: width of the output.
    """

    def __init__(self, contract: PointsContract | ImageContract, backbone: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.contract = contract
        self.normaliser = contract.normaliser()
        self.backbone = backbone
        self.feature_dim = feature_dim

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] or [B, 3, H, W] -> [B, feature_dim]. Raises ConfigError for an input the contract does
        not allow: shapes and type only, values are the data's business.
        """
        self.contract.check(x)
        features: Tensor = self.backbone(self.normaliser(x))
        return features


PointBackbone = Annotated[
    PointNetConfig | PointNet2SSGConfig | PointNet2MSGConfig | DGCNNConfig | PointTransformerConfig,
    Field(discriminator="kind"),
]
ImageBackbone = Annotated[ResNetConfig | TimmConfig | SmallCnnConfig | ReconCnnConfig, Field(discriminator="kind")]
Backbone = Annotated[
    PointNetConfig | PointNet2SSGConfig | PointNet2MSGConfig | DGCNNConfig | ResNetConfig, Field(discriminator="kind")
]
"""of bundles in format 1"""


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Modules built inside draw their initial weights from `seed`; torch's global generators are as before after it."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed every accelerator, which fork_rng(devices=[]) does not restore
        torch.default_generator.manual_seed(seed)
        yield


def build_point_encoder(
    contract: PointsContract, backbone: PointBackbone, *, seed: int, readout: ReadoutConfig | None = None
) -> Encoder:
    """Points encoder [B, N, contract.columns] -> [B, F] on the CPU; F of the readout, else of the backbone.

    Raises ConfigError: the contract's first feature group is not xyz.
    """
    if contract.features[:1] != ("xyz",):
        raise ConfigError(
            f"features {list(contract.features)}: point backbones need positions in the "
            "first three columns; put xyz first"
        )
    if len(set(contract.features)) != len(contract.features):
        raise ConfigError(f"features {list(contract.features)}: a group is named twice; name each once")
    with seeded_weights(seed):
        return _encoder(contract, _point_network(contract.columns, backbone), backbone.feature_dim, readout)


def build_image_encoder(
    contract: ImageContract, backbone: ImageBackbone, *, seed: int, readout: ReadoutConfig | None = None
) -> Encoder:
    """Image encoder [B, 3, H, W] -> [B, F] on the CPU; F of the readout, else of the backbone.

    Raises ConfigError for a bad weights file or an unknown network; MissingDependencyError.
    """
    with seeded_weights(seed):
        return _encoder(contract, _image_network(contract, backbone), backbone.feature_dim, readout)


def _encoder(
    contract: PointsContract | ImageContract, network: nn.Module, columns: int, readout: ReadoutConfig | None
) -> Encoder:
    if readout is None:
        return Encoder(contract, network, columns)
    read = ReadOut(network, Head(columns, readout), readout.parts)
    return Encoder(contract, read, readout.width(columns))


def _image_network(contract: ImageContract, backbone: ImageBackbone) -> nn.Module:
    match backbone:
        case ResNetConfig():
            return build_resnet(backbone)
        case TimmConfig():
            return build_timm(backbone)
        case SmallCnnConfig():
            return SmallCnn(backbone)
        case ReconCnnConfig():
            return ImageFeatures(contract.image_size, backbone)
        case _:
            assert_never(backbone)


def has_feature_transform(backbone: PointBackbone) -> bool:
    """Whether it is a PointNet with the T-Net that the regulariser acts on."""
    return isinstance(backbone, PointNetConfig) and backbone.feature_transform


def begins_at_a_file(backbone: ImageBackbone) -> bool:
    """Whether its first weights are not random."""
    return isinstance(backbone, ResNetConfig) and backbone.weights_file is not None


def has_point_features(backbone: PointBackbone) -> bool:
    """Whether its network has `point_features`: those of single points before they are pooled."""
    return isinstance(backbone, PointNetConfig | DGCNNConfig)


def _point_network(columns: int, backbone: PointBackbone) -> nn.Module:
    match backbone:
        case PointNetConfig():
            return PointNet(columns, backbone)
        case PointNet2SSGConfig() | PointNet2MSGConfig():
            return PointNet2(columns, backbone)
        case DGCNNConfig():
            return DGCNN(columns, backbone)
        case PointTransformerConfig():
            return PointTransformer(columns, backbone)
        case _:
            assert_never(backbone)


class FusionNetwork(nn.Module):
    """Does this image belong to these points? Two linear layers on the concatenated features.

    Args:
        dim_image, dim_points: widths of the two features, [B, dim_image] and [B, dim_points].
        hidden: width between them (the cross-modal reference: 256).
    """

    def __init__(self, dim_image: int, dim_points: int, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim_image + dim_points, hidden)
        self.output = nn.Linear(hidden, 2)

    def forward(self, image_features: Tensor, point_features: Tensor) -> Tensor:
        """Logits [B, 2]: index 1 means that the two belong together."""
        joined = torch.cat([image_features, point_features], dim=-1)
        logits: Tensor = self.output(F.relu(self.hidden(joined)))
        return logits
