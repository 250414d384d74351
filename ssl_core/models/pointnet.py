"""PointNet (Qi, Su, Mo, Guibas, CVPR 2017, arXiv 1612.00593) as the cross-modal reference uses it.

    x [B, N, D] -> T-Net on all D columns gives a 3x3, applied to xyz only -> 64 -> T-Net 64x64 -> 128 ->
    512, max.

The last layer is normalised but not activated. Both T-Nets can be left out.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.models.layers import PointwiseLayer, PooledLayer, at_least_single


class PointNetConfig(Config):
    """PointNet. Without both T-Nets it has a fifth of the parameters and takes half the time."""

    kind: Literal["pointnet"] = "pointnet"
    input_transform: bool = Field(default=True, description="T-Net that rotates xyz")
    feature_transform: bool = Field(default=True, description="64x64 T-Net on the first layer's output")
    feature_dim: int = Field(default=512, ge=1)


class TransformNet(nn.Module):
    """[B, N, columns] -> a matrix [B, size, size] per cloud, the identity added (T-Net)."""

    def __init__(self, columns: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.points_1 = PointwiseLayer(columns, 64, 1)
        self.points_2 = PointwiseLayer(64, 128, 1)
        self.pooled = PooledLayer(128, 1024, 1)
        self.head_1 = PointwiseLayer(1024, 512, 0)
        self.head_2 = PointwiseLayer(512, 256, 0)
        self.matrix = nn.Linear(256, size * size)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(self.points_2(self.points_1(x)))
        matrix: Tensor = self.matrix(self.head_2(self.head_1(pooled)))
        identity = torch.eye(self.size, dtype=matrix.dtype, device=matrix.device)
        return matrix.view(-1, self.size, self.size) + identity


class PointNet(nn.Module):
    """[B, N, columns] (xyz first) -> [B, feature_dim]."""

    def __init__(self, columns: int, config: PointNetConfig) -> None:
        super().__init__()
        self.input_transform = TransformNet(columns, 3) if config.input_transform else None
        self.points_1 = PointwiseLayer(columns, 64, 1)
        self.feature_transform = TransformNet(64, 64) if config.feature_transform else None
        self.points_2 = PointwiseLayer(64, 128, 1)
        self.pooled = PooledLayer(128, config.feature_dim, 1, "none")

    def forward(self, x: Tensor) -> Tensor:
        return self.features_and_transform(x)[0]

    def features_and_transform(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features [B, feature_dim] and, for the regulariser, the feature transform [B, 64, 64] or None."""
        points, transform = self._before_pooling(x)
        features: Tensor = self.pooled(points)
        return features, transform

    def point_features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features of each point before they are pooled, [B, N, feature_dim], then as `features_and_transform`."""
        points, transform = self._before_pooling(x)
        return *self.pooled.with_rows(points), transform

    def _before_pooling(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.input_transform is not None:
            xyz = torch.bmm(x[..., :3], self.input_transform(x))
            x = torch.cat([xyz, x[..., 3:]], dim=-1)
        x = self.points_1(x)
        transform = None
        if self.feature_transform is not None:
            transform = self.feature_transform(x)
            x = torch.bmm(x, transform)
        return self.points_2(x), transform


def transform_regulariser(transform: Tensor) -> Tensor:
    """Mean Frobenius norm of I - A A^T for A [B, K, K]: zero exactly for orthogonal matrices.

    PointNet's equation 2 squares the norm; this is the unsquared form common in code and in the cross-modal
    reference (which computes it and never adds it to its loss).
    """
    transform = at_least_single(transform)
    identity = torch.eye(transform.shape[-1], dtype=transform.dtype, device=transform.device)
    distance: Tensor = torch.linalg.matrix_norm(identity - torch.bmm(transform, transform.mT))
    return distance.mean()
