"""PointNet++ (Qi, Yi, Su, Guibas, NeurIPS 2017, arXiv 1706.02413), single- and multi-scale grouping.

    set abstraction 1: 512 centres, balls -> set abstraction 2: 128 centres, balls -> all points: [B, F]

Multi-scale, with the sizes the cross-modal reference uses: radii .1/.2/.4 with 16/32/128 neighbours, then
.2/.4/.8 with 32/64/128. A group's columns are its features, then xyz relative to the centre; the last stage,
over all points, has absolute xyz first, then features. With xyz as the only input the first stage has no
features.

`centres="prefix"`: the input already is in farthest-point order (packs are), so its first 512 and 128 points
are the centres. `"fps"` searches them from index 0; the reference starts at a random point, which makes its
features random.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.models.layers import PointwiseLayer, PooledLayer, activate, normalise_rows, shared_linear, weight_matrix
from ssl_core.models.neighbours import ball_query, farthest_points, gather_rows, squared_distances

Centres = Literal["prefix", "fps"]
Widths = tuple[int, int, int]


class Scale(NamedTuple):
    """One ball size of a set abstraction."""

    radius: float
    neighbours: int
    widths: Widths


MSG_SCALES_1 = (Scale(0.1, 16, (32, 32, 64)), Scale(0.2, 32, (64, 64, 128)), Scale(0.4, 128, (64, 96, 128)))
MSG_SCALES_2 = (Scale(0.2, 32, (64, 64, 128)), Scale(0.4, 64, (128, 128, 256)), Scale(0.8, 128, (128, 128, 256)))
SSG_SCALES_1 = (Scale(0.2, 32, (64, 64, 128)),)
SSG_SCALES_2 = (Scale(0.4, 64, (128, 128, 256)),)


class _PointNet2Config(Config):
    kind: str
    centres: Centres = "prefix"
    centres_1: int = Field(default=512, ge=1, description="centres of the first stage; all points when fewer")
    centres_2: int = Field(default=128, ge=1, description="centres of the second stage")
    feature_dim: int = Field(default=512, ge=1)


class PointNet2SSGConfig(_PointNet2Config):
    """PointNet++ with one ball size per stage: a tenth of the work of multi-scale grouping."""

    kind: Literal["pointnet2_ssg"] = "pointnet2_ssg"


class PointNet2MSGConfig(_PointNet2Config):
    """PointNet++ with three ball sizes per stage, the cross-modal reference's."""

    kind: Literal["pointnet2_msg"] = "pointnet2_msg"


class GroupedLayer(nn.Module):
    """The first layer of a group's network: features [B, N, C] or None, relative xyz [B, S, K, 3] -> [B, S,
    K, out].

    W [f_j; x_j - c_i] = W_f f_j + W_x (x_j - c_i): the features' part is computed once per point and
    gathered, not once per membership in a group (56 times fewer rows in the second stage).
    """

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.features = features
        self.linear = shared_linear(features + 3, out, 2)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, features: Tensor | None, relative: Tensor, index: Tensor) -> Tensor:
        weight = weight_matrix(self.linear)
        grouped = F.linear(relative, weight[:, self.features :], self.linear.bias)
        if features is not None:
            grouped = grouped + gather_rows(F.linear(features, weight[:, : self.features]), index)
        return activate(normalise_rows(self.norm, grouped.flatten(0, 2)), "relu").view_as(grouped)


class GroupNetwork(nn.Module):
    """One scale of a set abstraction: gather each ball, three shared layers, maximum over the ball."""

    def __init__(self, features: int, scale: Scale) -> None:
        super().__init__()
        self.radius = scale.radius
        self.neighbours = scale.neighbours
        self.grouped = GroupedLayer(features, scale.widths[0])
        self.hidden = PointwiseLayer(scale.widths[0], scale.widths[1], 2)
        self.pooled = PooledLayer(scale.widths[1], scale.widths[2], 2)

    def forward(self, xyz: Tensor, features: Tensor | None, centres: Tensor, distances: Tensor) -> Tensor:
        index = ball_query(distances, self.radius, self.neighbours)
        relative = gather_rows(xyz, index) - centres[:, :, None]
        pooled: Tensor = self.pooled(self.hidden(self.grouped(features, relative, index)))
        return pooled


class SetAbstraction(nn.Module):
    """xyz [B, N, 3], features [B, N, C] or None, centres [B, S, 3] -> [B, S, sum of the scales' widths]."""

    def __init__(self, features: int, scales: tuple[Scale, ...]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(GroupNetwork(features, scale) for scale in scales)
        self.out = sum(scale.widths[-1] for scale in scales)

    def forward(self, xyz: Tensor, features: Tensor | None, centres: Tensor) -> Tensor:
        distances = squared_distances(centres.detach(), xyz.detach())
        return torch.cat([scale(xyz, features, centres, distances) for scale in self.scales], dim=-1)


class GlobalAbstraction(nn.Module):
    """xyz [B, S, 3], features [B, S, C] -> [B, out]: one group of all points, absolute xyz first."""

    def __init__(self, features: int, widths: Widths) -> None:
        super().__init__()
        self.points_1 = PointwiseLayer(features + 3, widths[0], 2)
        self.points_2 = PointwiseLayer(widths[0], widths[1], 2)
        self.pooled = PooledLayer(widths[1], widths[2], 2)

    def forward(self, xyz: Tensor, features: Tensor) -> Tensor:
        pooled: Tensor = self.pooled(self.points_2(self.points_1(torch.cat([xyz, features], dim=-1))))
        return pooled


class PointNet2(nn.Module):
    """[B, N, columns] (xyz first) -> [B, feature_dim]."""

    def __init__(self, columns: int, config: PointNet2SSGConfig | PointNet2MSGConfig) -> None:
        super().__init__()
        self.centres: Centres = config.centres
        self.centres_1, self.centres_2 = config.centres_1, config.centres_2
        multi = isinstance(config, PointNet2MSGConfig)
        self.local_1 = SetAbstraction(columns - 3, MSG_SCALES_1 if multi else SSG_SCALES_1)
        self.local_2 = SetAbstraction(self.local_1.out, MSG_SCALES_2 if multi else SSG_SCALES_2)
        widths = (128, 256, config.feature_dim) if multi else (256, 512, config.feature_dim)
        self.all_points = GlobalAbstraction(self.local_2.out, widths)

    def forward(self, x: Tensor) -> Tensor:
        xyz = x[..., :3]
        features = x[..., 3:] if x.shape[-1] > 3 else None
        if self.centres == "fps":
            centres_1 = gather_rows(xyz, farthest_points(xyz, self.centres_1))
        else:
            centres_1 = xyz[:, : self.centres_1]
        # either way the first centres are in farthest-point order, so the second ones are their prefix
        centres_2 = centres_1[:, : self.centres_2]
        local_1 = self.local_1(xyz, features, centres_1)
        local_2 = self.local_2(centres_1, local_1, centres_2)
        pooled: Tensor = self.all_points(centres_2, local_2)
        return pooled
