"""Pictures of Gaussians: the one call, whatever draws them.

On CPU our own tile rasteriser draws; on CUDA gsplat where it is installed, else the same tile rasteriser.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ssl_core.errors import DataError
from ssl_core.render import gsplat_raster
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.projection import NEAR, project, screen_radii
from ssl_core.render.spherical_harmonics import sh_colours
from ssl_core.render.torch_raster import rasterise
from ssl_core.scenes.cameras import Camera

Backend = Literal["auto", "torch", "gsplat"]


@dataclass(frozen=True)
class Rendering:
    """One picture of Gaussians."""

    image: Tensor  # [H, W, C], background included
    alpha: Tensor  # [H, W] in [0, 1], how much of the background is covered
    depth: Tensor  # [H, W] mean depth of what is seen, along the camera's z axis; 0 where nothing is


@dataclass(frozen=True)
class ChannelRendering(Rendering):
    """One picture with extra channels, and where the Gaussians lie on it."""

    channels: Tensor  # [H, W, C] sum of weight x channel: no background, not divided by alpha
    means: Tensor  # [N, 2] (gsplat: [1, N, 2]) centres in pixels, of which the pictures are differentiable functions
    radii: Tensor  # [N] pixels, three standard deviations of the longer axis rounded up; 0 where nothing can be drawn


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
    none = gaussians.xyz.new_zeros(len(gaussians.xyz), 0)
    drawn = render_channels(gaussians, none, camera, background=background, backend=backend)
    return Rendering(drawn.image, drawn.alpha, drawn.depth)


def render_channels(
    gaussians: GaussianTensors,
    channels: Tensor,
    camera: Camera,
    *,
    background: Sequence[float] = (1.0, 1.0, 1.0),
    backend: Backend = "auto",
    detach_geometry: bool = True,
    near: float = NEAR,
) -> ChannelRendering:
    """`render_gaussians` with `channels` [N, C], any number of them, composited by the same weights in the same pass.

    Args:
        gaussians: what is drawn.
        channels: features or logits of each Gaussian; their picture has no background.
        camera: who looks.
        background: of the image, one value per channel of it.
        backend: see `render_gaussians`.
        detach_geometry: gradients of the channels' picture reach the channels alone, as in FiT3D (Yue et al. 2024,
            section 3.1): image, its gradients and so a fit are bit for bit those without channels. False lets them
            reach the Gaussians too.
        near: Gaussians nearer to the camera's plane are not drawn, world units; Kerbl et al. 2023 take 0.2.

    Raises:
        DataError: channels that are not one row per Gaussian; else as `render_gaussians`.
    """
    colours = _colours(gaussians, camera)
    shown = colours.shape[1]
    if len(background) != shown:
        raise DataError(f"background has {len(background)} values for {shown} channels; give one each")
    if channels.ndim != 2 or len(channels) != len(colours):
        raise DataError(f"channels are {list(channels.shape)} for {len(colours)} Gaussians; give [Gaussians, channels]")
    together = not detach_geometry
    seen = torch.cat([colours, channels], dim=1) if together else colours
    beside = channels[:, :0] if together else channels
    draw = gsplat_raster.rasterise if _uses_gsplat(gaussians, backend) else _on_tiles
    image, alpha, depth, others, means, radii = draw(gaussians, seen, beside, camera, near)
    others = image[..., shown:] if together else others
    image = image[..., :shown] + (1 - alpha)[..., None] * image.new_tensor(tuple(background))
    return ChannelRendering(image, alpha, depth, others, means, radii)


def _on_tiles(
    gaussians: GaussianTensors, colours: Tensor, channels: Tensor, camera: Camera, near: float
) -> tuple[Tensor, ...]:
    """Colours without background, alpha, mean depth, channels, screen means and radii, by our rasteriser."""
    projected = project(gaussians.xyz, gaussians.log_scales, gaussians.quaternions, camera, near=near)
    features = torch.cat([colours, projected.depths[:, None]], dim=1)
    log_alphas = torch.nn.functional.logsigmoid(gaussians.opacity_logits)
    summed, alpha, others = rasterise(projected, log_alphas, features, camera.width, camera.height, channels)
    depth = summed[..., -1] / alpha.clamp_min(1e-10)
    return summed[..., :-1], alpha, depth, others, projected.means, screen_radii(projected, camera)


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
