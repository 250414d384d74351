"""Training steps of the point backbones beside the order of operations one reads in their papers."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.table import Comparison, Section, digits, ratio_table
from benchmarks.timing import compare, one_thread
from ssl_core.contracts import PointsContract
from ssl_core.data.sampling import farthest_point_order
from ssl_core.meshes.household import CLASSES, household_mesh
from ssl_core.meshes.mesh import sample_surface
from ssl_core.models.build import Encoder, PointBackbone, build_point_encoder
from ssl_core.models.dgcnn import DGCNNConfig, EdgeLayer
from ssl_core.models.layers import Activation, PooledLayer, activate, weight_matrix
from ssl_core.models.neighbours import gather_rows
from ssl_core.models.pointnet import PointNetConfig
from ssl_core.models.pointnet2 import (
    GroupedLayer,
    GroupNetwork,
    PointNet2,
    PointNet2MSGConfig,
    PointNet2SSGConfig,
)

BACKBONES: tuple[tuple[str, PointBackbone], ...] = (
    ("PointNet", PointNetConfig()),
    ("PointNet without T-Nets", PointNetConfig(input_transform=False, feature_transform=False)),
    ("DGCNN", DGCNNConfig()),
    ("PointNet++ SSG", PointNet2SSGConfig()),
)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    batch: int = 16
    points: int = 256
    repetitions: int = 7
    at_least: float = 0.2
    msg_batch: int = 8
    msg_points: int = 2048
    msg_repetitions: int = 3


QUICK = Sizes(2, 40, repetitions=2, at_least=0.0, msg_batch=2, msg_points=48, msg_repetitions=1)
MSG_BAR = 2.0
"""PointNet++ MSG on the reference's 2,048 points is to be this much faster than in the usual order."""


def measure(quick: bool = False) -> Section:
    """Forward, backward and an AdamW step on a batch of point clouds."""
    sizes = QUICK if quick else Sizes()
    with one_thread():
        clouds = surface_clouds(sizes.batch, sizes.points)
        rows = [compare_steps(name, config, clouds, sizes.repetitions, sizes.at_least) for name, config in BACKBONES]
        large = surface_clouds(sizes.msg_batch, sizes.msg_points)
        what = f"PointNet++ MSG, {sizes.msg_batch} x {sizes.msg_points:,}"
        msg = compare_steps(what, PointNet2MSGConfig(), large, sizes.msg_repetitions, sizes.at_least)
    slow = f"a step of PointNet++ MSG is {digits(msg.ratio.median)} times faster; the bar is {MSG_BAR:.0f}"
    return Section(
        title="Point backbones",
        shows=f"Time of one training step (forward, backward, AdamW) on {sizes.batch} clouds of {sizes.points} points, "
        "and of PointNet++ MSG at the reference's size.",
        baseline="The baseline has the same weights and gives the same features in the usual order of operations: "
        "every edge or group member is formed, multiplied, normalised and activated before the maximum is taken, and "
        "PointNet++ searches its centres again although the points come in farthest-point order, and its balls by "
        "sorting all pairs, and convolves pictures of their members.",
        tables=(ratio_table([*rows, msg], "usual order"),),
        notes=(f"The bar for PointNet++ MSG is {MSG_BAR:.0f} times.",),
        missed=() if quick or msg.ratio.median >= MSG_BAR else (slow,),
    )


def compare_steps(name: str, config: PointBackbone, clouds: Tensor, repetitions: int, at_least: float) -> Comparison:
    """Training steps of both, after a check that they give the same features."""
    ours = build_point_encoder(PointsContract(num_points=clouds.shape[1]), config, seed=0)
    plain = plainly(ours)
    check_equal(ours, plain, clouds[:2])
    return compare(name, TrainingStep(ours, clouds), TrainingStep(plain, clouds), repetitions, at_least)


def surface_clouds(batch: int, count: int) -> Tensor:
    """[batch, count, 3] of household objects in the unit sphere, in farthest-point order from the first point."""
    rng = np.random.default_rng(0)
    clouds = []
    for number in range(batch):
        mesh = household_mesh(CLASSES[number % len(CLASSES)], rng).normalised()
        points, _ = sample_surface(mesh, 4 * count, rng)
        clouds.append(points[farthest_point_order(points, count, 0)])
    return torch.from_numpy(np.stack(clouds))


class TrainingStep:
    """One step of training towards a fixed random direction; call it as often as needed."""

    def __init__(self, encoder: Encoder, clouds: Tensor) -> None:
        self.encoder, self.clouds = encoder.train(), clouds
        self.optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        self.direction = torch.randn(len(clouds), encoder.feature_dim, generator=generator)

    def __call__(self) -> None:
        """Forward, backward, step."""
        self.optimiser.zero_grad()
        (self.encoder(self.clouds) * self.direction).mean().backward()
        self.optimiser.step()


class UsualOrder(nn.Module):
    """Linear map, normalisation, activation of every row, then the maximum over the last axis of rows."""

    def __init__(self, layer: PooledLayer | EdgeLayer | GroupedLayer) -> None:
        super().__init__()
        self.linear, self.norm = layer.linear, layer.norm

    def rows(self, x: Tensor, activation: Activation) -> Tensor:
        """[..., C] -> [..., out]."""
        rows = F.linear(x.flatten(0, -2), weight_matrix(self.linear), self.linear.bias)
        return activate(self.norm(rows), activation).view(*x.shape[:-1], -1)


class UsualPooled(UsualOrder):
    """[..., K, C] -> [..., out]."""

    def __init__(self, layer: PooledLayer) -> None:
        super().__init__(layer)
        self.activation: Activation = layer.activation

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x, self.activation).amax(-2)


class UsualEdges(UsualOrder):
    """[B, N, C] and neighbours [B, N, k] -> [B, N, out], every edge formed."""

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        ahead = gather_rows(x, neighbours)
        here = x[:, :, None].expand_as(ahead)
        return self.rows(torch.cat([ahead - here, here], dim=-1), "leaky_relu").amax(2)


class UsualGroups(UsualOrder):
    """Features [B, N, C] or None, relative xyz [B, S, K, 3] and index -> [B, S, K, out], every member formed."""

    def forward(self, features: Tensor | None, relative: Tensor, index: Tensor) -> Tensor:
        members = relative if features is None else torch.cat([gather_rows(features, index), relative], dim=-1)
        return self.rows(members, "relu")


class UsualGroupNetwork(nn.Module):
    """One scale of a set abstraction as published: sorted balls, pictures of members, 1 x 1 convolutions."""

    def __init__(self, network: GroupNetwork) -> None:
        super().__init__()
        self.radius, self.neighbours = network.radius, network.neighbours
        layers = (network.grouped, network.hidden, network.pooled)
        self.linear = nn.ModuleList(layer.linear for layer in layers)
        self.norm = nn.ModuleList(layer.norm for layer in layers)

    def forward(self, xyz: Tensor, features: Tensor | None, centres: Tensor, distances: Tensor) -> Tensor:
        points = xyz.shape[1]
        index = torch.arange(points).expand(distances.shape).clone()
        index[distances > self.radius * self.radius] = points
        index = index.sort(dim=-1).values[..., : self.neighbours]
        index = torch.where(index == points, index[..., :1], index)
        members = gather_rows(xyz, index) - centres[:, :, None]
        if features is not None:
            members = torch.cat([gather_rows(features, index), members], dim=-1)
        picture = members.permute(0, 3, 2, 1)  # [B, C, K, S]
        for linear, norm in zip(self.linear, self.norm, strict=True):
            picture = F.conv2d(picture, weight_matrix(linear)[:, :, None, None], linear.bias)
            normalised = F.batch_norm(
                picture, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum
            )
            picture = F.relu(normalised)
        return picture.amax(2).transpose(1, 2)


def plainly(encoder: Encoder) -> Encoder:
    """A copy with the same weights that computes in the usual order."""
    twin = copy.deepcopy(encoder)
    _replace(twin)
    if isinstance(twin.backbone, PointNet2):
        twin.backbone.centres = "fps"
    return twin


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        match child:
            case PooledLayer():
                setattr(module, name, UsualPooled(child))
            case EdgeLayer():
                setattr(module, name, UsualEdges(child))
            case GroupNetwork():
                setattr(module, name, UsualGroupNetwork(child))
            case _:
                _replace(child)


def check_equal(ours: Encoder, plain: Encoder, clouds: Tensor) -> None:
    """Raises AssertionError when the features of a training batch differ in float64."""
    features = [copy.deepcopy(encoder).double().train()(clouds.double()) for encoder in (ours, plain)]
    torch.testing.assert_close(features[0], features[1], rtol=1e-6, atol=1e-6)
    for encoder in (ours, plain):  # the first calls are slower; neither side shall pay for them
        TrainingStep(copy.deepcopy(encoder), clouds)()
