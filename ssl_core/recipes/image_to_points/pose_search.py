"""The pose in which a predicted cloud fits its image best, among a grid of azimuths and what the pose network says.

Shape and pose are learnt together from nothing: a network that is told of its errors by gradients alone sits in the
nearest of many minima (a chair seen from behind is nearly one seen from the front). Looking at candidates all around is
the remedy of Insafutdinov, Dosovitskiy (NeurIPS 2018) and of Goel, Kanazawa, Malik ("camera multiplex", ECCV 2020),
here by search in place of many heads. The released code has nothing of the kind.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ssl_core.render.point_splatting import OrbitLens, orbit_rotation, project_points, splat_colour, splat_mask

KEPT = 0.95
"""The network's pose stays unless another one's error is below this share of its own."""
_HEIGHTS = (1 / 6, 1 / 2, 5 / 6)
"""of the candidates' elevations, in the range's area"""


@dataclass(frozen=True)
class PoseSearch:
    """What is tried.

    Args:
        azimuths: how many, evenly spaced over `azimuth_range` to each side, turned anew in each step.
        elevations: range in radians.
        lens: of half the picture's size: outlines are enough.
        variance: of the mask's kernel.
        colours: whether colours count beside the mask.
    """

    azimuths: int
    azimuth_range: float
    elevations: tuple[float, float]
    lens: OrbitLens
    variance: float
    colours: bool

    def candidates(self, turn: Tensor) -> Tensor:
        """[3 * azimuths, 2]; `turn` in [0, 1) shifts the grid by a share of its step."""
        return pose_grid(self.azimuths, self.azimuth_range, self.elevations, turn)

    @torch.no_grad()
    def best(self, cloud: tuple[Tensor, Tensor], told: Tensor, seen: tuple[Tensor, Tensor], turn: Tensor) -> Tensor:
        """[B, 2] poses; where the network's are kept, they are equal to it.

        Args:
            cloud: points [B, N, 3] and their colours.
            told: [B, 2] the network's poses.
            seen: images [B, 3, S, S] and masks [B, S, S].
            turn: see `candidates`.
        """
        (points, rgb), batch = cloud, len(told)
        grid = self.candidates(turn)
        tried = torch.cat((told[:, None], grid[None].expand(batch, -1, -1)), dim=1)  # [B, K, 2]
        count, size = tried.shape[1], self.lens.size
        flat = tried.flatten(0, 1)
        rotation = orbit_rotation(flat[:, 0], flat[:, 1])
        on_screen = project_points(points.repeat_interleave(count, dim=0), rotation, self.lens)
        image, mask = (_smaller(picture, size) for picture in (seen[0], seen[1][:, None]))
        drawn = splat_mask(on_screen, size, self.variance).unflatten(0, (batch, count))
        error = (drawn - mask).abs().mean(dim=(2, 3))
        if self.colours:
            picture = splat_colour(on_screen, rgb.repeat_interleave(count, dim=0), size).unflatten(0, (batch, count))
            error += (picture - image[:, None]).square().sum(dim=2).mean(dim=(2, 3))
        error[:, 0] *= KEPT
        return tried[torch.arange(batch, device=tried.device), error.argmin(dim=1)]


def pose_grid(azimuths: int, azimuth_range: float, elevations: tuple[float, float], turn: Tensor) -> Tensor:
    """[3 * azimuths, 2] radians: azimuths even over the range to each side, each at three elevations of equal area.

    Args:
        turn: in [0, 1), shifts the azimuths by a share of their step.
    """
    step = 2 * azimuth_range / azimuths
    azimuth = (torch.arange(azimuths, device=turn.device) + turn) * step - azimuth_range
    low, high = (math.sin(angle) for angle in elevations)
    elevation = torch.tensor([math.asin(low + (high - low) * share) for share in _HEIGHTS], device=turn.device)
    return torch.cartesian_prod(azimuth, elevation)


def _smaller(pictures: Tensor, size: int) -> Tensor:
    """[B, C, S, S] -> [B, C, size, size]."""
    return functional.adaptive_avg_pool2d(pictures, size)
