"""View-dependent colour: real spherical harmonics of degree 0 to 3 in the order that Gaussian .ply files use.

The basis is the one of Sloan, "Stupid Spherical Harmonics Tricks" (2008), with the signs of Kerbl et al. 2023.
"""

import math

import torch
from torch import Tensor

C0 = 0.5 / math.sqrt(math.pi)
C1 = math.sqrt(3 / (4 * math.pi))
C2 = math.sqrt(15 / (4 * math.pi))
C2_ZZ = math.sqrt(5 / (16 * math.pi))
C3_XXX = math.sqrt(35 / (32 * math.pi))
C3_XYZ = math.sqrt(105 / (4 * math.pi))
C3_XZZ = math.sqrt(21 / (32 * math.pi))
C3_ZZZ = math.sqrt(7 / (16 * math.pi))
COUNTS = (1, 4, 9, 16)
"""Coefficients per channel, by degree."""


def sh_basis(directions: Tensor, count: int) -> Tensor:
    """Unit directions [N, 3] -> [N, count] values of the first `count` (1, 4, 9 or 16) basis functions."""
    x, y, z = directions.unbind(-1)
    columns = [torch.full_like(x, C0)]
    if count > 1:
        columns += [-C1 * y, C1 * z, -C1 * x]
    if count > 4:
        columns += [C2 * x * y, -C2 * y * z, C2_ZZ * (3 * z * z - 1), -C2 * x * z, C2 / 2 * (x * x - y * y)]
    if count > 9:
        columns += [
            -C3_XXX * y * (3 * x * x - y * y),
            C3_XYZ * x * y * z,
            -C3_XZZ * y * (5 * z * z - 1),
            C3_ZZZ * z * (5 * z * z - 3),
            -C3_XZZ * x * (5 * z * z - 1),
            C3_XYZ / 2 * z * (x * x - y * y),
            -C3_XXX * x * (x * x - 3 * y * y),
        ]
    return torch.stack(columns, dim=-1)


def sh_colours(sh: Tensor, xyz: Tensor, camera_position: Tensor) -> Tensor:
    """Coefficients [N, count, 3] at centres [N, 3] seen from a point [3] -> colours [N, 3], not below zero."""
    if sh.shape[1] == 1:
        return (C0 * sh[:, 0] + 0.5).clamp_min(0)
    directions = torch.nn.functional.normalize(xyz - camera_position, dim=-1)
    basis = sh_basis(directions, sh.shape[1])
    return (torch.einsum("nk,nkc->nc", basis, sh) + 0.5).clamp_min(0)
