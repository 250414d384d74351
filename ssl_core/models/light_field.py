"""A scene as a light field network: a ray goes in, its colour comes out, nothing is integrated along it.

Sitzmann, Rezchikov, Freeman, Tenenbaum, Durand: Light Field Networks, NeurIPS 2021, arXiv 2106.02634. Rays are given to
the network in Plücker coordinates (direction, moment), so a ray has one colour wherever on it the origin lies.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from ssl_core.errors import ConfigError

RAY = 6
"""Numbers of a ray: origin (x, y, z) and direction (x, y, z)."""


class LightField(nn.Module):
    """Rays [R, 6] -> colours [R, 3] in [0, 1].

    `layers` hidden layers (at least one) of width `hidden`; `frequencies` octaves of sines and cosines stand beside the
    Plücker coordinates.
    """

    def __init__(self, hidden: int, layers: int, frequencies: int) -> None:
        super().__init__()
        octaves = math.pi * 2.0 ** torch.arange(frequencies)
        self.register_buffer("octaves", octaves, persistent=False)  # the card holds their number
        widths = [RAY * (1 + 2 * frequencies), *[hidden] * layers]
        steps: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            steps += [nn.Linear(wide, narrow), nn.ReLU()]
        self.network = nn.Sequential(*steps, nn.Linear(hidden, 3), nn.Sigmoid())

    def forward(self, rays: Tensor) -> Tensor:
        """Raises ConfigError for anything but [R, 6] of floats. A direction may have any length but zero."""
        if rays.ndim != 2 or rays.shape[1] != RAY or not rays.is_floating_point():
            raise ConfigError(
                f"this scene field takes rays [R, {RAY}] float, origin and direction, got {list(rays.shape)} of "
                f"{str(rays.dtype).removeprefix('torch.')}"
            )
        place = pluecker(rays)
        waves = (place[:, :, None] * self.get_buffer("octaves")).flatten(1)
        colours: Tensor = self.network(torch.cat((place, waves.sin(), waves.cos()), dim=1))
        return colours


def pluecker(rays: Tensor) -> Tensor:
    """Origin and direction [R, 6] -> unit direction and moment [R, 6], the same for every origin on the ray."""
    origin, direction = rays[:, :3], rays[:, 3:]
    unit = direction / direction.norm(dim=1, keepdim=True).clamp_min(1e-12)
    (ox, oy, oz), (dx, dy, dz) = origin.unbind(1), unit.unbind(1)
    moment = torch.stack((oy * dz - oz * dy, oz * dx - ox * dz, ox * dy - oy * dx), dim=1)
    return torch.cat((unit, moment), dim=1)
