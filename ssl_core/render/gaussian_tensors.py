"""Gaussians as tensors on a device, in the parameters that are optimised."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.render.spherical_harmonics import COUNTS


@dataclass(frozen=True)
class GaussianTensors:
    """N Gaussians on a device, in the parameters that are optimised. Exactly one of `colours` and `sh` is given."""

    xyz: Tensor  # [N, 3] centres, world units
    opacity_logits: Tensor  # [N]
    log_scales: Tensor  # [N, 3]
    quaternions: Tensor  # [N, 4] wxyz, any norm but zero
    colours: Tensor | None = None  # [N, C] any channels, taken as they are
    sh: Tensor | None = None  # [N, 1 | 4 | 9 | 16, 3] spherical-harmonic coefficients, the constant one first

    def __post_init__(self) -> None:
        if (self.colours is None) == (self.sh is None):
            raise DataError("give either colours [N, C] or sh [N, K, 3] to draw, not both and not neither")
        if self.sh is not None and self.sh.shape[1] not in COUNTS:
            raise DataError(f"sh has {self.sh.shape[1]} coefficients per channel; expected one of {COUNTS}")

    @classmethod
    def from_cloud(
        cls, cloud: GaussianCloud, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """Copies of a cloud's arrays, spherical harmonics included."""

        def tensor(array: object) -> Tensor:
            return torch.tensor(array, device=device, dtype=dtype)

        sh = torch.cat([tensor(cloud.sh_dc)[:, None], tensor(cloud.sh_rest)], dim=1)
        return cls(
            xyz=tensor(cloud.xyz),
            opacity_logits=tensor(cloud.opacity_logits),
            log_scales=tensor(cloud.log_scales),
            quaternions=tensor(cloud.quaternions),
            sh=sh,
        )
