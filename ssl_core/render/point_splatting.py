"""Differentiable pictures of point clouds, as in Navaneet et al., "From Image Collections to Point Clouds with
Self-supervised Shape and Pose Networks" (CVPR 2020, section 3.1), after CAPNet (Navaneet et al. 2019).

A pose is (azimuth, elevation) in radians of a camera on an orbit that looks at the origin with the world's z axis up,
as `ssl_core.scenes.cameras.orbit_cameras` has them. Pixels are counted by their centres: the first of a row lies at 0,
so that the middle of 64 is 31.5 (`docs/conventions.md` counts edges: subtract 0.5).

* Mask: M[i, j] = tanh(sum_n exp(-(r_n - i)^2 / 2s) exp(-(c_n - j)^2 / 2s)). The kernel is separable, so a picture is
  tanh(Kr^T Kc): one product of [H, N] and [N, W] and no tensor of points times pixels.
* Colour: of the points within one pixel in row and column the nearest counts most, by a softmax of
  `sharpness` / (depth + 1). A point lies in the well of at most 3 x 3 pixels, so it is summed into those alone.
  Pixels in nobody's well are 0. Colour has no gradient to rows and columns: the well is flat.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHARPNESS = 100.0
"""Of the softmax over depths, at the reference's distance of 2: 0.2 nearer is 0.9 of the colour."""
WELL = 1.0
"""Pixels from a point to the centre of those that it colours, in rows and in columns."""
NEAR = 1e-2
"""Points nearer to the camera than this share of its distance are moved there: none may pass behind it."""


@dataclass(frozen=True)
class OrbitLens:
    """The camera that all poses of an orbit share: a square picture, the origin in its middle."""

    size: int  # S, pixels
    focal: float  # pixels
    distance: float  # of the camera from the origin, in the cloud's units
    centre: float  # row and column of the origin, counted by pixel centres

    @classmethod
    def of(cls, size: int, focal: float, distance: float) -> "OrbitLens":
        """With the origin in the exact middle. `focal` as a share of the side."""
        return cls(size, focal * size, distance, size / 2 - 0.5)


@dataclass(frozen=True)
class Projection:
    """Points on the screen."""

    rows: Tensor  # [B, N], pixel centres at whole numbers
    cols: Tensor  # [B, N]
    depths: Tensor  # [B, N] along the camera's axis


def orbit_rotation(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Angles [B] in radians -> [B, 3, 3] world to camera, OpenCV axes (right, down, forward); any angle is one."""
    (sa, ca), (se, ce) = (azimuth.sin(), azimuth.cos()), (elevation.sin(), elevation.cos())
    right = torch.stack((-sa, ca, torch.zeros_like(sa)), dim=-1)
    down = torch.stack((se * ca, se * sa, -ce), dim=-1)
    forward = torch.stack((-ce * ca, -ce * sa, -se), dim=-1)
    return torch.stack((right, down, forward), dim=-2)


def project_points(xyz: Tensor, rotation: Tensor, lens: OrbitLens) -> Projection:
    """Clouds [B, N, 3] seen by cameras [B, 3, 3] (world to camera) at the lens's distance from the origin."""
    points = xyz @ rotation.transpose(-1, -2)
    depth = (points[..., 2] + lens.distance).clamp_min(NEAR * lens.distance)
    scale = lens.focal / depth
    return Projection(points[..., 1] * scale + lens.centre, points[..., 0] * scale + lens.centre, depth)


def splat_mask(seen: Projection, size: int, variance: float) -> Tensor:
    """[B, S, S] in [0, 1): how much each pixel is covered. `variance` of the kernel in square pixels."""
    pixels = torch.arange(size, dtype=seen.rows.dtype, device=seen.rows.device)
    rows = torch.exp((seen.rows[..., None] - pixels).square() / (-2 * variance))  # [B, N, S]
    cols = torch.exp((seen.cols[..., None] - pixels).square() / (-2 * variance))
    return torch.tanh(rows.transpose(-1, -2) @ cols)


def splat_colour(seen: Projection, rgb: Tensor, size: int, sharpness: float = SHARPNESS) -> Tensor:
    """Colours [B, N, 3] -> pictures [B, 3, S, S], black where no point is."""
    batch, points, _ = rgb.shape
    pixel, inside = _wells(seen, size)
    score = (sharpness / (seen.depths + 1 + 1e-5))[..., None].expand(batch, points, 9).reshape(-1)
    with torch.no_grad():  # any constant of a pixel cancels in its softmax
        top = torch.full((batch * size * size + 1,), -torch.inf, dtype=score.dtype, device=score.device)
        top = top.scatter_reduce(0, pixel, score, "amax")[pixel]
    weight = torch.where(inside, torch.exp(score - top), 0.0)
    colours = torch.cat((rgb, torch.ones_like(rgb[..., :1])), dim=-1)
    spread = weight[:, None] * colours[:, :, None].expand(batch, points, 9, 4).reshape(-1, 4)
    summed = spread.new_zeros((batch * size * size + 1, 4)).index_add(0, pixel, spread)[:-1]
    total = summed[:, 3:]
    picture = summed[:, :3] / torch.where(total > 0, total, 1.0)
    return picture.reshape(batch, size, size, 3).permute(0, 3, 1, 2)


def _wells(seen: Projection, size: int) -> tuple[Tensor, Tensor]:
    """[B * N * 9] index of each pixel around each point in a flat batch, and whether the point colours it.

    What colours nothing goes to one pixel past the end.
    """
    rows, cols = seen.rows.detach(), seen.cols.detach()
    around = torch.arange(-1, 2, device=rows.device)
    row = (rows.clamp(-9, size + 9).round().long()[..., None] + around)[..., :, None]  # [B, N, 3, 1]
    col = (cols.clamp(-9, size + 9).round().long()[..., None] + around)[..., None, :]
    near = ((rows[..., None, None] - row).abs() <= WELL) & ((cols[..., None, None] - col).abs() <= WELL)
    inside = near & (row >= 0) & (row < size) & (col >= 0) & (col < size)
    first = torch.arange(len(rows), device=rows.device)[:, None, None, None] * (size * size)
    pixel = torch.where(inside, first + row * size + col, len(rows) * size * size)
    return pixel.reshape(-1), inside.reshape(-1)
