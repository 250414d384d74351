"""An encoder: an input contract, a backbone and one forward."""

from torch import Tensor, nn

from ssl_core.contracts import ImageContract, PointsContract


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
