"""Adaptive density control: where the picture still pulls at Gaussians they are cloned or split, faint ones go.

Kerbl et al. 2023, "3D Gaussian Splatting", section 5.2, with the constants of the authors' code.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ssl_core.config import Config
from ssl_core.render.gaussian_table import LOG_SCALES, OPACITY, QUATERNION, XYZ
from ssl_core.render.projection import rotation_matrices

SPLIT_INTO = 2
SHRINK = 0.8 * SPLIT_INTO
"""The parts of a split Gaussian are this many times smaller."""


class DensifyConfig(Config):
    """When Gaussians are added and removed. Iterations are those of a run of `SceneFitConfig.reference_iterations`."""

    enabled: bool = True
    every: int = Field(default=100, ge=1)
    after: int = Field(default=500, ge=0)
    until: int = Field(default=15_000, ge=0)
    gradient: float = Field(
        default=2e-4, gt=0, description="mean length of a centre's gradient, in half pictures, from which it is refined"
    )
    clone_below: float = Field(
        default=0.01, gt=0, description="of the scene's extent: smaller ones are cloned, larger ones split"
    )
    min_opacity: float = Field(default=0.005, ge=0, lt=1, description="fainter ones are removed")
    max_size: float = Field(
        default=0.1, gt=0, description="of the scene's extent: larger ones are removed after the first opacity reset"
    )
    max_radius: float | None = Field(
        default=None,
        gt=0,
        description="pixels: larger ones are removed after the first opacity reset. The authors meant 20, and their "
        "code forgets the radii before it looks at them, so that none is ever removed",
    )
    max_gaussians: int = Field(
        default=3_000_000, ge=1, description="where more would be added, the strongest pulls win"
    )
    reset_opacity_every: int = Field(default=3000, ge=1)
    every_at_least: int = Field(
        default=50, ge=1, description="true iterations, not scaled: a pull is a mean over pictures, which takes some"
    )
    after_at_least: int = Field(
        default=100, ge=0, description="true iterations, not scaled: at first everything is pulled at"
    )
    reset_at_least: int = Field(
        default=300, ge=1, description="true iterations, not scaled: opacities need some to come back"
    )
    reset_opacity_to: float = Field(default=0.01, gt=0, lt=1, description="opacities are at most this after a reset")


@dataclass
class Pulls:
    """What has been seen of each of N Gaussians since the last change of their number."""

    gradients: Tensor  # [N] sum of lengths of screen gradients, in half pictures
    visits: Tensor  # [N] pictures that it was in
    radii: Tensor  # [N] largest radius on a screen, pixels

    @classmethod
    def none(cls, count: int, device: torch.device) -> "Pulls":
        """Nothing seen yet."""
        return cls(*(torch.zeros(count, device=device) for _ in range(3)))

    def see(self, gradient: Tensor, radii: Tensor, size: tuple[int, int]) -> None:
        """One picture of `size` (width, height): gradients [N, 2] per pixel, radii [N] in pixels, 0 where not in it."""
        seen = radii > 0
        half = gradient.new_tensor(size) / 2  # clip coordinates run from -1 to 1
        self.gradients += torch.where(seen, (gradient * half).norm(dim=1), 0)
        self.visits += seen
        self.radii = torch.maximum(self.radii, radii)


@dataclass(frozen=True)
class Change:
    """Rows of the table that stay, in order, and those that are added behind them."""

    kept: Tensor  # [K] indices
    added: Tensor  # [M, D]
    parents: Tensor  # [M] index of the Gaussian that each added one comes from


def densified(
    table: Tensor, pulls: Pulls, extent: float, config: DensifyConfig, rng: np.random.Generator, *, large_go: bool
) -> Change:
    """Clone, split and remove rows of a table [N, D] as `gaussian_table` has them.

    Args:
        table: not changed.
        pulls: of its rows.
        extent: the scene's, world units.
        config: thresholds.
        rng: draws where the parts of a split Gaussian lie.
        large_go: whether large ones are removed too: after the first opacity reset.
    """
    mean = pulls.gradients / pulls.visits.clamp_min(1)
    wanted = mean >= config.gradient
    small = table[:, LOG_SCALES].exp().amax(1) <= config.clone_below * extent
    wanted = _strongest(wanted, mean, config.max_gaussians - len(table))
    clone, split = (wanted & small).nonzero()[:, 0], (wanted & ~small).nonzero()[:, 0]
    parts = split.repeat(SPLIT_INTO)
    added = torch.cat([table[clone], _parts(table[parts], rng)])
    parents = torch.cat([clone, parts])
    stays = ~_removable(table, extent, config, large_go)
    if large_go and config.max_radius is not None:
        stays &= pulls.radii <= config.max_radius
    stays[split] = False
    fine = ~_removable(added, extent, config, large_go)
    return Change(stays.nonzero()[:, 0], added[fine], parents[fine])


def _strongest(wanted: Tensor, pull: Tensor, room: int) -> Tensor:
    """At most `room` of those wanted: each, cloned or split, makes one more."""
    if int(wanted.sum()) <= room:
        return wanted
    chosen = torch.zeros_like(wanted)
    if room > 0:
        chosen[torch.where(wanted, pull, -1).topk(room).indices] = True
    return chosen


def _parts(rows: Tensor, rng: np.random.Generator) -> Tensor:
    """Rows moved to places drawn from their own Gaussians, and shrunk."""
    rows = rows.clone()
    draws: NDArray[np.float64] = rng.standard_normal((len(rows), 3))
    scales = rows[:, LOG_SCALES].exp()
    local = torch.as_tensor(draws, dtype=rows.dtype, device=rows.device) * scales
    rows[:, XYZ] += (rotation_matrices(rows[:, QUATERNION]) @ local[:, :, None])[:, :, 0]
    rows[:, LOG_SCALES] = (scales / SHRINK).log()
    return rows


def _removable(table: Tensor, extent: float, config: DensifyConfig, large_go: bool) -> Tensor:
    """[N] too faint, or too large."""
    found = table[:, OPACITY].sigmoid() < config.min_opacity
    if large_go:
        found |= table[:, LOG_SCALES].exp().amax(1) > config.max_size * extent
    return found
