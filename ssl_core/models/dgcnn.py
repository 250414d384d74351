"""DGCNN (Wang, Sun, Liu, Sarma, Bronstein, Solomon, ACM TOG 2019, arXiv 1801.07829).

Edge convolutions on graphs of nearest neighbours, built anew in each layer's feature space (first: xyz):

    edge layers 64, 64, 128, 256 -> concatenated 512 -> shared linear layer, maximum -> [B, feature_dim]
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.models.layers import (
    PooledLayer,
    activate,
    at_least_single,
    channel_signs,
    normalise_pooled,
    running_statistics,
    shared_linear,
    track,
    weight_matrix,
)
from ssl_core.models.neighbours import gather_rows, nearest, row_indices

EDGE_WIDTHS = (64, 64, 128, 256)


class DGCNNConfig(Config):
    """DGCNN. `k` counts the point itself and is capped by the number of points."""

    kind: Literal["dgcnn"] = "dgcnn"
    k: int = Field(default=20, ge=1, description="neighbours per point")
    feature_dim: int = Field(default=512, ge=1)


class EdgeLayer(nn.Module):
    """[B, N, C] and neighbours [B, N, k] -> [B, N, out]: max over j of act(BN(W [x_j - x_i; x_i])).

    W [x_j - x_i; x_i] = W_1 x_j + (W_2 - W_1) x_i: two products per point, none per edge.
    """

    def __init__(self, columns: int, out: int) -> None:
        super().__init__()
        self.columns = columns
        self.linear = shared_linear(2 * columns, out, 2)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        assert self.linear.bias is not None
        signs = channel_signs(self.norm)
        weight = weight_matrix(self.linear) * signs[:, None]
        ahead, here = weight[:, : self.columns], weight[:, self.columns :]
        at_neighbour = F.linear(x, ahead)
        at_point = F.linear(x, here - ahead, self.linear.bias * signs)
        if self.norm.training:
            index = row_indices(neighbours, x.shape[1]).flatten(0, 1)
            pooled, mean, var = pool_edges(
                at_least_single(at_neighbour.flatten(0, 1)), at_least_single(at_point.flatten(0, 1)), index
            )
            track(self.norm, mean.detach() * signs, var.detach(), index.numel())
            pooled = pooled.view_as(at_point)
        else:
            pooled = gather_rows(at_neighbour, neighbours).amax(-2) + at_point
            mean, var = running_statistics(self.norm, signs)
        return activate(normalise_pooled(self.norm, pooled, mean, var), "leaky_relu")


def pool_edges(at_neighbour: Tensor, at_point: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the edge values e_ij = at_neighbour[j] + at_point[i], without forming them: their maximum over j [rows, out],
    mean and biased variance over all edges, each [out]. Inputs are [rows, out] and neighbours j of each i [rows, k].
    """
    edges = index.numel()
    degree = torch.bincount(index.flatten(), minlength=len(index)).to(at_point.dtype)
    pooled = F.embedding_bag(index, at_neighbour, mode="max") + at_point
    # the variance is the same after any shift; shifted to zero mean its sums lose no digits
    shift, point_shift = at_neighbour.detach().mean(0), at_point.detach().mean(0)
    ahead, here = at_neighbour - shift, at_point - point_shift
    sums = F.embedding_bag(index, ahead, mode="sum")
    mean = degree @ ahead / edges + here.mean(0)
    second = (degree @ ahead.square() + 2 * (here * sums).sum(0)) / edges + here.square().mean(0)
    return pooled, mean + shift + point_shift, (second - mean.square()).clamp(min=0.0)


class DGCNN(nn.Module):
    """[B, N, columns] (xyz first) -> [B, feature_dim]."""

    def __init__(self, columns: int, config: DGCNNConfig) -> None:
        super().__init__()
        self.k = config.k
        inputs = (columns, *EDGE_WIDTHS[:-1])
        self.edges = nn.ModuleList(EdgeLayer(i, o) for i, o in zip(inputs, EDGE_WIDTHS, strict=True))
        self.pooled = PooledLayer(sum(EDGE_WIDTHS), config.feature_dim, 1, "leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pooled(self._edge_features(x))
        return pooled

    def point_features(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        """Features of each point before they are pooled, [B, N, feature_dim], and `forward`'s maximum over them."""
        return *self.pooled.with_rows(self._edge_features(x)), None

    def _edge_features(self, x: Tensor) -> Tensor:
        neighbours = nearest(x[..., :3], self.k)
        layers: list[Tensor] = []
        for edge in self.edges:
            x = edge(x, neighbours if not layers else nearest(x, self.k))
            layers.append(x)
        return torch.cat(layers, dim=-1)
