"""Pictures of Gaussians: the one call, whatever draws them.

On CPU our own tile rasteriser draws; on CUDA gsplat where it is installed, else the same tile rasteriser.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.render import gsplat_raster
from ssl_core.render.projection import project
from ssl_core.render.spherical_harmonics import COUNTS, sh_colours
from ssl_core.render.torch_raster import rasterise
from ssl_core.scenes.cameras import Camera

Backend = Literal["auto", "torch", "gsplat"]


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


@dataclass(frozen=True)
class Rendering:
    """One picture of Gaussians."""

    image: Tensor  # [H, W, C], background included
    alpha: Tensor  # [H, W] in [0, 1], how much of the background is covered
    depth: Tensor  # [H, W] mean depth of what is seen, along the camera's z axis; 0 where nothing is


def render_gaussians(
    gaussians: GaussianTensors,
    camera: Camera,
    *,
    background: Sequence[float] = (1.0, 1.0, 1.0),
    backend: Backend = "auto",
) -> Rendering:
    """Draw `gaussians` as `camera` sees them; differentiable in every tensor of `gaussians`.

    Their device and dtype are the picture's (gsplat: float32 on CUDA only); `background` has one value per channel.
    Backend "auto" takes gsplat for CUDA tensors where it is installed, the torch rasteriser otherwise.

    Raises:
        DataError: as many background values as channels are needed.
        MissingDependencyError: gsplat was asked for and is not installed, or there is no CUDA device.
    """
    colours = _colours(gaussians, camera)
    if len(background) != colours.shape[1]:
        raise DataError(f"background has {len(background)} values for {colours.shape[1]} channels; give one each")
    if _uses_gsplat(gaussians, backend):
        image, alpha, depth = gsplat_raster.rasterise(
            gaussians.xyz,
            gaussians.quaternions,
            gaussians.log_scales.exp(),
            gaussians.opacity_logits.sigmoid(),
            colours,
            camera,
        )
    else:
        projected = project(gaussians.xyz, gaussians.log_scales, gaussians.quaternions, camera)
        features = torch.cat([colours, projected.depths[:, None]], dim=1)
        log_alphas = torch.nn.functional.logsigmoid(gaussians.opacity_logits)
        summed, alpha = rasterise(projected, log_alphas, features, camera.width, camera.height)
        image, depth = summed[..., :-1], summed[..., -1] / alpha.clamp_min(1e-10)
    image = image + (1 - alpha)[..., None] * image.new_tensor(tuple(background))
    return Rendering(image, alpha, depth)


def _colours(gaussians: GaussianTensors, camera: Camera) -> Tensor:
    if gaussians.colours is not None:
        return gaussians.colours
    assert gaussians.sh is not None
    eye = torch.as_tensor(camera.position, dtype=gaussians.xyz.dtype, device=gaussians.xyz.device)
    return sh_colours(gaussians.sh, gaussians.xyz, eye)


def _uses_gsplat(gaussians: GaussianTensors, backend: Backend) -> bool:
    if backend != "auto":
        return backend == "gsplat"
    return gaussians.xyz.is_cuda and importlib.util.find_spec("gsplat") is not None
