"""Depth maps of Gaussian clouds by a z-buffer over their ellipsoids, and which points such a map leaves visible.

A pixel's depth is that of the nearest Gaussian whose ellipsoid at `extent` standard deviations its ray passes through,
taken where the Gaussian is densest along the ray (Yu, Sattler, Geiger 2024, "Gaussian Opacity Fields", equation 7).
Flat Gaussians, which lie on surfaces, give the depth of the ray's point in their plane; round ones that of the point
nearest to their centre. Each Gaussian also covers the pixel that its centre falls on, so that small ones hide, too.

It approximates the depth of the surface that the Gaussians lie on: holes remain where they lie further apart than their
ellipsoids reach, and silhouettes grow by as much as these reach over the edge.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.render.projection import NEAR, rotation_matrices
from ssl_core.scenes.cameras import Camera

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_AT_ONCE = 2**18
"""Pixels looked at together: what is computed of them then stays small."""


@dataclass(frozen=True)
class Ellipsoids:
    """N Gaussians that hide what is behind them: world frame, float64."""

    centres: Floats  # [N, 3]
    rotations: Floats  # [N, 3, 3], local to world
    deviations: Floats  # [N, 3] standard deviations along the local axes, positive

    @classmethod
    def of_gaussians(cls, centres: Floats, log_scales: Floats, quaternions: Floats) -> "Ellipsoids":
        """From centres [N, 3], log-scales [N, 3] and quaternions [N, 4] (wxyz, any norm but zero)."""
        rotations = rotation_matrices(torch.from_numpy(np.ascontiguousarray(quaternions, dtype=np.float64)))
        # below, a squared inverse would leave the range in which float64 has digits to spare
        return cls(centres, rotations.numpy(), np.maximum(np.exp(log_scales), 1e-6))

    @classmethod
    def balls(cls, centres: Floats, radius: float) -> "Ellipsoids":
        """Around centres [N, 3], all of one radius, which is one standard deviation."""
        turns = np.broadcast_to(np.eye(3), (len(centres), 3, 3))
        return cls(centres, turns, np.full((len(centres), 3), radius))


def projection_matrix(camera: Camera) -> Floats:
    """[3, 4] P = K [R | t], from world coordinates to pixels."""
    found: Floats = camera.K @ camera.viewmat[:3]
    return found


def projected(matrices: Floats, xyz: Floats) -> tuple[Floats, Floats, Floats]:
    """Points [..., 3] under matrices [..., 3, 4] -> x and y in pixels (centres at +0.5) and depth, each [...].

    Sums are written out: the same point gives the same bits in any company. What is not in front of the camera gets
    the pixel (-1, -1).
    """
    x, y, z = xyz[..., 0], xyz[..., 1], xyz[..., 2]

    def row(i: int) -> Floats:
        value: Floats = (
            matrices[..., i, 0] * x + matrices[..., i, 1] * y + matrices[..., i, 2] * z + matrices[..., i, 3]
        )
        return value

    depth = row(2)
    ahead = depth > NEAR
    divisor = np.where(ahead, depth, 1.0)
    return np.where(ahead, row(0) / divisor, -1.0), np.where(ahead, row(1) / divisor, -1.0), depth


def pixels_in(x: Floats, y: Floats, width: int, height: int) -> tuple[NDArray[np.bool_], Indices, Indices]:
    """Which places lie in the image, and their pixel's row and column (0, 0 for the others)."""
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return inside, np.where(inside, y, 0).astype(np.int64), np.where(inside, x, 0).astype(np.int64)


def depth_map(ellipsoids: Ellipsoids, camera: Camera, extent: float) -> Floats:
    """[H, W] float64 depth along the camera's z axis; inf where no Gaussian is met."""
    width, height = camera.width, camera.height
    x, y, depth = projected(projection_matrix(camera), ellipsoids.centres)
    buffer = np.full(height * width, np.inf)
    inside, row, column = pixels_in(x, y, width, height)
    np.minimum.at(buffer, (row * width + column)[inside], depth[inside])
    boxes = _boxes(x, y, depth, extent * ellipsoids.deviations.max(axis=1), camera)
    frames = _local_frames(ellipsoids, camera)
    area = np.cumsum((boxes[:, 2] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 3]))
    parts = np.unique(np.searchsorted(area, np.arange(0, area.max(initial=0), _AT_ONCE)))
    for some in np.split(boxes, parts):
        index, rows, columns = _pixels_of(some)
        t = _met(frames[0][index], frames[1][index], (rows, columns), camera, extent)
        met = np.isfinite(t)
        np.minimum.at(buffer, (rows * width + columns)[met], t[met])
    return buffer.reshape(height, width)


def _met(whitened: Floats, origin: Floats, at: tuple[Indices, Indices], camera: Camera, extent: float) -> Floats:
    """[pairs] depth at which each pixel's ray meets its Gaussian; inf where it passes by."""
    (fx, _, cx), (_, fy, cy), _ = camera.K.tolist()
    dx, dy = (at[1] + 0.5 - cx) / fx, (at[0] + 0.5 - cy) / fy
    r = [whitened[:, i, 0] * dx + whitened[:, i, 1] * dy + whitened[:, i, 2] for i in range(3)]
    o = [origin[:, i] for i in range(3)]
    along = o[0] * r[0] + o[1] * r[1] + o[2] * r[2]
    square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    apart = o[0] * o[0] + o[1] * o[1] + o[2] * o[2]
    t = -along / square
    return np.where((apart - along * along / square <= extent * extent) & (t > NEAR), t, np.inf)


def visible(xyz: Floats, camera: Camera, depth: Floats, eps: float) -> NDArray[np.bool_]:
    """[N] which points [N, 3] fall on the image, at most `eps` (world units) behind the depth map [H, W] there."""
    x, y, z = projected(projection_matrix(camera), xyz)
    inside, row, column = pixels_in(x, y, camera.width, camera.height)
    found: NDArray[np.bool_] = inside & (z <= depth[row, column] + eps)
    return found


def _boxes(x: Floats, y: Floats, depth: Floats, reach: Floats, camera: Camera) -> Indices:
    """[M, 5] a Gaussian's index and the pixels that its ellipsoid may cover: rows and columns, each from and to.

    A ball of `reach` [N] holds the ellipsoid. Gaussians whose ball holds the camera's plane are left out.
    """
    some = np.flatnonzero(depth - reach > NEAR)
    # |X'/Z' - X/Z| <= (1 + |X/Z|) R / (Z - R) for any (X', Z') of the ball
    spread = reach[some] / (depth[some] - reach[some])
    edges = [some]
    for centre, focal, middle, size in (
        (y[some], camera.K[1, 1], camera.K[1, 2], camera.height),
        (x[some], camera.K[0, 0], camera.K[0, 2], camera.width),
    ):
        half = spread * (focal + np.abs(centre - middle)) + 1
        edges.append(np.clip(np.floor(centre - half), 0, size).astype(np.int64))
        edges.append(np.clip(np.ceil(centre + half), 0, size).astype(np.int64))
    return np.stack(edges, axis=1)


def _pixels_of(boxes: Indices) -> tuple[Indices, Indices, Indices]:
    """Every pixel of rectangles [M, 5]: the Gaussian's index, row and column, each [pairs]."""
    index, top, bottom, left, right = boxes.T
    area = (bottom - top) * (right - left)
    of = np.repeat(np.arange(len(boxes)), area)
    inner = np.arange(len(of)) - np.repeat(np.cumsum(area) - area, area)
    wide = (right - left)[of]
    return index[of], top[of] + inner // wide, left[of] + inner % wide


def _local_frames(ellipsoids: Ellipsoids, camera: Camera) -> tuple[Floats, Floats]:
    """[N, 3, 3] camera frame -> local frame in standard deviations, and the camera's centre in it, [N, 3]."""
    view, turn = camera.viewmat, ellipsoids.rotations
    whitened = np.empty((len(turn), 3, 3))
    for i in range(3):
        for j in range(3):
            entry = turn[:, 0, i] * view[j, 0] + turn[:, 1, i] * view[j, 1] + turn[:, 2, i] * view[j, 2]
            whitened[:, i, j] = entry / ellipsoids.deviations[:, i]
    x, y, z = ellipsoids.centres.T
    c = [view[i, 0] * x + view[i, 1] * y + view[i, 2] * z + view[i, 3] for i in range(3)]
    origin = [-(whitened[:, i, 0] * c[0] + whitened[:, i, 1] * c[1] + whitened[:, i, 2] * c[2]) for i in range(3)]
    return whitened, np.stack(origin, axis=1)
