"""Random rotations of bounded angle, and what they do to vectors, quaternions and spherical harmonics.

Quaternions are wxyz and of unit norm; a rotation takes the object's old directions to its new ones.
"""

import math
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ssl_core.render.spherical_harmonics import sh_basis

BANDS = (slice(1, 4), slice(4, 9), slice(9, 16))
"""Spherical harmonics of degree 1, 2 and 3: a rotation mixes those of one degree only."""


def random_rotations(count: int, degrees: float, about: Literal["up", "any"], generator: torch.Generator) -> Tensor:
    """[count, 4] float64 unit quaternions of random rotations by at most `degrees` (up to 180).

    about up: the angle is uniform within +-degrees. About any axis: uniform among the rotations of such an angle, by
    the measure that no rotation is preferred in (its density over angles is proportional to 1 - cos).
    """
    limit = math.radians(degrees)
    u = torch.rand(count, generator=generator, dtype=torch.float64)
    if about == "up":
        angle = limit * (2 * u - 1)
        axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 3)
    else:
        grid = np.linspace(0.0, limit, 4097)
        angle = torch.from_numpy(np.interp(u.numpy() * (limit - math.sin(limit)), grid - np.sin(grid), grid))
        direction = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        axis = torch.nn.functional.normalize(direction, dim=-1)
    return torch.cat([(angle / 2).cos()[:, None], (angle / 2).sin()[:, None] * axis], dim=-1)


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """[..., 4] unit quaternions -> [..., 3, 3]."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    matrices: Tensor = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    return matrices


def times(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product [..., 4] of quaternions: first the rotation `b`, then `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def sh_rotations(quaternions: Tensor) -> Tensor:
    """[B, 4] float64 -> [B, 15, 15]: what takes the coefficients of degrees 1 to 3 to those of the turned object.

    The turned colour in direction d is the old one in direction R^-1 d. As rotated basis functions of a degree are
    combinations of those of the same degree, the matrix follows from the basis at enough directions.
    """
    directions, inverses = _directions()
    # rows of `directions` times R are R^-1 of each direction
    before = sh_basis((directions @ rotation_matrices(quaternions)).flatten(0, 1), 16)
    before = before.unflatten(0, (len(quaternions), len(directions)))
    out = quaternions.new_zeros(len(quaternions), 15, 15)
    for band, inverse in zip(BANDS, inverses, strict=True):
        place = slice(band.start - 1, band.stop - 1)
        out[:, place, place] = inverse @ before[:, :, band]
    return out


@cache
def _directions() -> tuple[Tensor, tuple[Tensor, ...]]:
    """Directions [64, 3], well spread, and for each degree the pseudo-inverse of its basis at them."""
    i = torch.arange(64, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / 64
    turn = math.pi * (1 + math.sqrt(5)) * i
    flat = (1 - z * z).sqrt()
    directions = torch.stack([flat * turn.cos(), flat * turn.sin(), z], dim=-1)
    basis = sh_basis(directions, 16)
    return directions, tuple(torch.linalg.pinv(basis[:, band]) for band in BANDS)
