"""A small transformer over groups of points, after Point-BERT (Yu, Tang, Rao, Huang, Zhou, Lu, CVPR 2022, arXiv
2111.14819).

    farthest-point centres -> k nearest points of each -> mini-PointNet: a token per group
    -> plus the embedded centre -> pre-norm blocks (Xiong et al. 2020) -> maximum and mean over tokens

Layer normalisation throughout, so nothing depends on the batch. The first centre is the point farthest from the origin,
so the order of the points does not matter. Beside the reference: groups of points, not of their relative positions
alone (further columns come along); one stage in the mini-PointNet; no class token.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.models.neighbours import farthest_points, gather_rows, squared_distances

_MLP_RATIO = 4


class PointTransformerConfig(Config):
    """A transformer over `groups` tokens of `neighbours` points each; both are capped by the number of points."""

    kind: Literal["point_transformer"] = "point_transformer"
    groups: int = Field(default=64, ge=1)
    neighbours: int = Field(default=32, ge=1)
    dim: int = Field(default=128, ge=1, description="of a token")
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    pooling: Literal["max", "max_mean"] = "max_mean"

    @property
    def feature_dim(self) -> int:
        """Width of the pooled tokens."""
        return 2 * self.dim if self.pooling == "max_mean" else self.dim

    @model_validator(mode="after")
    def _divisible(self) -> "PointTransformerConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is no multiple of heads {self.heads}; each head takes an equal share")
        return self


class TokenEmbedding(nn.Module):
    """Groups [B, S, K, columns] -> [B, S, dim]: three shared layers, maximum over the group."""

    def __init__(self, columns: int, dim: int) -> None:
        super().__init__()
        self.points_1 = nn.Linear(columns, dim // 2 or 1)
        self.norm_1 = nn.LayerNorm(dim // 2 or 1)
        self.points_2 = nn.Linear(dim // 2 or 1, dim)
        self.norm_2 = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, groups: Tensor) -> Tensor:
        hidden = F.relu(self.norm_1(self.points_1(groups)))
        hidden = F.relu(self.norm_2(self.points_2(hidden)))
        token: Tensor = self.output(hidden.amax(-2))
        return token


class TransformerBlock(nn.Module):
    """[B, S, dim] -> [B, S, dim]: x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        # without bias: that of the keys moves every logit of a query alike and would have no gradient
        self.attend = nn.Linear(dim, 3 * dim, bias=False)
        self.mix = nn.Linear(dim, dim)
        self.hidden = nn.Linear(dim, _MLP_RATIO * dim)
        self.output = nn.Linear(_MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.attend(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.mix(seen)
        moved: Tensor = x + self.output(F.gelu(self.hidden(self.norm_2(x))))
        return moved


class PointTransformer(nn.Module):
    """[B, N, columns] (xyz first) -> [B, feature_dim]."""

    def __init__(self, columns: int, config: PointTransformerConfig) -> None:
        super().__init__()
        self.groups, self.neighbours, self.pooling = config.groups, config.neighbours, config.pooling
        self.embedding = TokenEmbedding(columns, config.dim)
        self.position = nn.Sequential(nn.Linear(3, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim))
        self.blocks = nn.ModuleList(TransformerBlock(config.dim, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)[1]
        largest = tokens.amax(1)
        return torch.cat([largest, tokens.mean(1)], dim=-1) if self.pooling == "max_mean" else largest

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, columns] -> centres [B, S, 3] and their tokens [B, S, dim], S = min(groups, N)."""
        xyz = x[..., :3]
        first = xyz.detach().square()
        farthest = (first[..., 0] + first[..., 1] + first[..., 2]).argmax(-1)
        centres = gather_rows(xyz, farthest_points(xyz, self.groups, farthest))
        distances = squared_distances(centres.detach(), xyz.detach())
        count = min(self.neighbours, x.shape[1])
        index = distances.topk(count, dim=-1, largest=False, sorted=False).indices
        members = gather_rows(x, index)
        relative = members[..., :3] - centres[:, :, None]
        tokens = self.embedding(torch.cat([relative, members[..., 3:]], dim=-1)) + self.position(centres)
        for block in self.blocks:
            tokens = block(tokens)
        return centres, self.norm(tokens)
