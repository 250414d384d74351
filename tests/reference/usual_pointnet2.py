"""PointNet++ in the usual order of operations, for gradients and for timings: the weights are those of our module.

Centres are searched one after the other, balls are found by sorting all pairs, every member of every group is formed,
multiplied, normalised and activated, and only then the maximum is taken.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.models.pointnet2 import GroupNetwork, PointNet2, SetAbstraction


def searched_centres(xyz: Tensor, count: int) -> Tensor:
    """[B, N, 3] -> [B, count, 3]: farthest points, from the first one."""
    index = torch.zeros(len(xyz), count, dtype=torch.int64, device=xyz.device)
    distance = torch.full(xyz.shape[:2], torch.inf, dtype=xyz.dtype, device=xyz.device)
    clouds = torch.arange(len(xyz), device=xyz.device)
    for place in range(1, count):
        distance = torch.minimum(distance, (xyz - xyz[clouds, index[:, place - 1]][:, None]).square().sum(-1))
        index[:, place] = distance.argmax(-1)
    return xyz[clouds[:, None], index]


def sorted_ball(xyz: Tensor, centres: Tensor, radius: float, count: int) -> Tensor:
    """[B, S, K] the first points by index in each ball, by sorting the indices of all N points for each centre."""
    points = xyz.shape[1]
    distances = (centres[:, :, None] - xyz[:, None]).square().sum(-1)
    index = torch.arange(points, device=xyz.device).expand(distances.shape).clone()
    index[distances > radius * radius] = points
    index = index.sort(dim=-1).values[:, :, :count]
    return torch.where(index == points, index[:, :, :1], index)


def layer(linear: nn.Module, norm: nn.BatchNorm1d, rows: Tensor) -> Tensor:
    """[..., C] -> [..., out], normalised over all rows, laid out as a picture: of that PyTorch adds up in float64."""
    mapped = F.linear(rows, linear.weight.flatten(1), linear.bias)
    picture = mapped.flatten(0, -2).T.contiguous()[None, :, :, None]
    training = norm.training
    normalised = F.batch_norm(
        picture, norm.running_mean, norm.running_var, norm.weight, norm.bias, training, norm.momentum or 0.1, norm.eps
    )
    return F.relu(normalised)[0, :, :, 0].T.reshape(mapped.shape)


def group(network: GroupNetwork, xyz: Tensor, features: Tensor | None, centres: Tensor) -> Tensor:
    """[B, S, out] of one scale."""
    index = sorted_ball(xyz.detach(), centres.detach(), network.radius, network.neighbours)
    clouds = torch.arange(len(xyz), device=xyz.device)[:, None, None]
    members = xyz[clouds, index] - centres[:, :, None]
    if features is not None:
        members = torch.cat([features[clouds, index], members], dim=-1)
    for part in (network.grouped, network.hidden, network.pooled):
        members = layer(part.linear, part.norm, members)
    return members.amax(2)


def abstraction(stage: SetAbstraction, xyz: Tensor, features: Tensor | None, centres: Tensor) -> Tensor:
    """[B, S, sum of the scales' widths]."""
    return torch.cat([group(network, xyz, features, centres) for network in stage.scales], dim=-1)


def usual_pointnet2(model: PointNet2, x: Tensor) -> Tensor:
    """[B, N, columns] -> [B, feature_dim]; trains or evaluates as the module's mode says."""
    xyz = x[..., :3]
    features = x[..., 3:] if x.shape[-1] > 3 else None
    centres_1 = searched_centres(xyz, min(model.centres_1, xyz.shape[1]))
    centres_2 = searched_centres(centres_1, min(model.centres_2, centres_1.shape[1]))
    local_1 = abstraction(model.local_1, xyz, features, centres_1)
    local_2 = abstraction(model.local_2, centres_1, local_1, centres_2)
    rows = torch.cat([centres_2, local_2], dim=-1)
    for part in (model.all_points.points_1, model.all_points.points_2, model.all_points.pooled):
        rows = layer(part.linear, part.norm, rows)
    return rows.amax(1)
