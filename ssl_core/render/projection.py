"""3D Gaussians to 2D Gaussians on the screen: the affine approximation of EWA splatting.

Zwicker et al. 2001, "EWA Splatting", equations 25 to 31; constants as in Kerbl et al. 2023 and gsplat.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_core.scenes.cameras import Camera

NEAR = 0.01
"""Gaussians nearer to the camera's plane than this (world units), or behind it, are not drawn."""
DILATION = 0.3
"""Square pixels added to both screen variances: no Gaussian is narrower than a pixel ("classic" mode)."""
FRUSTUM_MARGIN = 1.3
"""The Jacobian is taken at most this many half-widths off the axis: beyond, the affine approximation explodes."""


@dataclass(frozen=True)
class Projected:
    """2D Gaussians. Where `visible` is false the other values are finite but mean nothing."""

    means: Tensor  # [N, 2] pixels
    conics: Tensor  # [N, 3], the inverse covariance's (xx, xy, yy), 1 / pixel^2
    variances: Tensor  # [N, 2], the covariance's diagonal, pixel^2
    depths: Tensor  # [N] along the camera's z axis, world units
    visible: Tensor  # [N] bool, in front of the camera


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """Quaternions [N, 4] (wxyz, any norm but zero) -> local to world rotations [N, 3, 3]."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, dim=-1).view(-1, 3, 3)


def project(xyz: Tensor, log_scales: Tensor, quaternions: Tensor, camera: Camera, *, near: float = NEAR) -> Projected:
    """Centres [N, 3], log-scales [N, 3] and quaternions [N, 4] -> the Gaussians on `camera`'s screen.

    Those nearer to the camera's plane than `near` (world units) are not visible.
    """
    view = torch.as_tensor(camera.viewmat, dtype=xyz.dtype, device=xyz.device)
    (fx, _, cx), (_, fy, cy), _ = camera.K.tolist()
    points = xyz @ view[:3, :3].T + view[:3, 3]
    visible = points[:, 2] > near
    # one over a harmless depth where the Gaussian is dropped anyway: no inf or NaN reaches the gradients
    inverse = 1 / torch.where(visible, points[:, 2], 1.0)
    x, y = points[:, 0] * inverse, points[:, 1] * inverse
    limit_x, limit_y = FRUSTUM_MARGIN * camera.width / (2 * fx), FRUSTUM_MARGIN * camera.height / (2 * fy)
    axes = (view[:3, :3] @ rotation_matrices(quaternions)) * log_scales.exp()[:, None, :]
    row_x = (fx * inverse)[:, None] * (axes[:, 0] - x.clamp(-limit_x, limit_x)[:, None] * axes[:, 2])
    row_y = (fy * inverse)[:, None] * (axes[:, 1] - y.clamp(-limit_y, limit_y)[:, None] * axes[:, 2])
    xx = (row_x * row_x).sum(-1) + DILATION
    yy = (row_y * row_y).sum(-1) + DILATION
    xy = (row_x * row_y).sum(-1)
    determinant = xx * yy - xy * xy
    return Projected(
        means=torch.stack([fx * x + cx, fy * y + cy], dim=-1),
        conics=torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None],
        variances=torch.stack([xx, yy], dim=-1),
        depths=points[:, 2],
        visible=visible,
    )


@torch.no_grad()
def screen_radii(projected: Projected, camera: Camera) -> Tensor:
    """[N] pixels: three standard deviations of the longer axis, rounded up; 0 where that square misses the screen.

    As the rasteriser of Kerbl et al. 2023 reports them.
    """
    xx, yy = projected.variances.unbind(1)
    determinant = xx / projected.conics[:, 2]
    middle = (xx + yy) / 2
    longest = middle + (middle * middle - determinant).clamp_min(0.1).sqrt()
    radii = (3 * longest.sqrt()).ceil()
    size = torch.tensor([camera.width, camera.height], dtype=radii.dtype, device=radii.device)
    reaches = (projected.means + radii[:, None] > 0) & (projected.means - radii[:, None] < size)
    return torch.where(projected.visible & reaches.all(1), radii, 0)
