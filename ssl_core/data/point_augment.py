"""Augmentation of whole batches of points, on any device, with an explicit generator and no loop over samples."""

import math

import torch
from pydantic import Field
from torch import Tensor

from ssl_core.config import Config
from ssl_core.contracts import PointsContract


class PointAugment(Config):
    """What is done to an object's points; positions are in units of its bounding sphere's radius.

    No rotation by default: where objects stand upright and aligned, what is learnt may use that.
    """

    scale: float = Field(default=1.25, ge=1, le=4, description="factor per axis, log-uniform in [1/scale, scale]")
    shift: float = Field(default=0.1, ge=0, le=1, description="per axis, uniform within +-")
    jitter: float = Field(default=0.02, ge=0, le=1, description="standard deviation per point and axis")
    yaw: float = Field(default=0.0, ge=0, le=180, description="degrees about the vertical axis, uniform within +-")
    drop_points: float = Field(default=0.5, ge=0, lt=1, description="largest share of points left out, uniform")
    drop_groups: float = Field(
        default=0.0, ge=0, lt=1, description="chance that a feature group of an object is all zero; xyz always stays"
    )

    def check(self, contract: PointsContract) -> None:
        """Raises ValueError where the points have columns that do not turn with the object."""
        if self.yaw > 0 and (still := set(contract.features) - {"xyz", "normals", "opacity", "sh_dc"}):
            raise ValueError(f"augment.yaw turns positions and normals, not '{min(still)}'; set it to 0")


UNCHANGED = PointAugment(scale=1, shift=0, jitter=0, drop_points=0)


def augment_points(
    points: Tensor,
    contract: PointsContract,
    config: PointAugment,
    generator: torch.Generator,
    staying: Tensor | None = None,
) -> Tensor:
    """[B, N, D] -> [B, N, D], a new tensor. The generator is on the CPU: the same one gives the same on any device.

    Points that are left out are replaced by one that stays, which changes nothing where points are pooled by their
    maximum. Normals turn with the object and are otherwise left as they are. Points that `staying` [B, N] bool marks
    are never left out; nothing else depends on it.
    """
    batch, count, _ = points.shape
    draws = torch.rand(batch, 8, generator=generator)
    out = points.clone()
    factor = torch.exp(math.log(config.scale) * (2 * draws[:, :3] - 1)).to(points)
    shift = (config.shift * (2 * draws[:, 3:6] - 1)).to(points)
    turn = _about_z(math.radians(config.yaw) * (2 * draws[:, 6] - 1)).to(points)
    noise = (config.jitter * torch.randn(batch, count, 3, generator=generator)).to(points)
    for group, start, end in contract.places():
        span = out[..., start:end]
        if group == "xyz":
            turned = torch.einsum("bij,bnj->bni", turn, span)
            out[..., start:end] = turned * factor[:, None] + shift[:, None] + noise
        elif group == "normals" and config.yaw > 0:
            out[..., start:end] = torch.einsum("bij,bnj->bni", turn, span)
        if group != "xyz" and config.drop_groups > 0:
            kept = torch.rand(batch, generator=generator) >= config.drop_groups
            out[..., start:end] *= kept.to(points)[:, None, None]
    share = config.drop_points * draws[:, 7]
    dropped = torch.rand(batch, count, generator=generator) < share[:, None]
    dropped[:, 0] = False
    dropped = dropped.to(points.device)
    if staying is not None:
        dropped &= ~staying
    augmented: Tensor = torch.where(dropped[..., None], out[:, :1], out)
    return augmented


def _about_z(angles: Tensor) -> Tensor:
    """[B] radians -> rotation matrices [B, 3, 3]."""
    cos, sin, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    matrices: Tensor = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
    return matrices
