"""gsplat behind the project's rasteriser signature; the only file that imports it (Apache-2.0, optional extra `gpu`).

gsplat builds its CUDA code at the first call: that takes minutes and needs nvcc and g++. Set TORCH_EXTENSIONS_DIR to
keep the build, and TORCH_CUDA_ARCH_LIST where it is built without a visible device. Tests marked `gpu` compare it with
the torch rasteriser and need a CUDA device; so far this file has been read and type-checked, not run on one.
"""

from typing import Any

import torch
from torch import Tensor

from ssl_core.errors import MissingDependencyError
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.projection import DILATION
from ssl_core.scenes.cameras import Camera

CHANNEL_CHUNK = 32
"""Most channels that one call of gsplat's kernels takes; more would be compiled for."""


def rasterise(
    gaussians: GaussianTensors, colours: Tensor, channels: Tensor, camera: Camera, near: float
) -> tuple[Tensor, ...]:
    """[H, W, F] colours without background, [H, W] alpha, [H, W] mean depth (0 where nothing is seen), on CUDA.

    Of colours [N, F] and channels [N, C]; further [H, W, C] channels, [1, N, 2] screen means and [N] radii in pixels.
    The channels are drawn with the projection and the tile lists of the colours, detached.

    Raises MissingDependencyError: gsplat is not installed, or the tensors are not on a CUDA device.
    """
    gsplat = _gsplat()
    xyz = gaussians.xyz
    if not xyz.is_cuda:
        raise MissingDependencyError(
            "gsplat draws on CUDA only and these Gaussians are on the CPU; use backend 'torch' or 'auto'"
        )
    view = torch.as_tensor(camera.viewmat, dtype=torch.float32, device=xyz.device)[None]
    K = torch.as_tensor(camera.K, dtype=torch.float32, device=xyz.device)[None]
    image, alpha, found = gsplat.rasterization(
        xyz,
        gaussians.quaternions,
        gaussians.log_scales.exp(),
        gaussians.opacity_logits.sigmoid(),
        colours,
        view,
        K,
        camera.width,
        camera.height,
        near_plane=near,
        eps2d=DILATION,
        packed=False,
        render_mode="RGB+ED",
    )
    radii = found["radii"][0].amax(-1).to(xyz.dtype)
    others = _channels(gsplat, found, channels, camera)
    return image[0, ..., :-1], alpha[0, ..., 0], image[0, ..., -1], others, found["means2d"], radii


def _channels(gsplat: Any, found: dict[str, Any], channels: Tensor, camera: Camera) -> Tensor:
    """[H, W, C] of channels [N, C], some at a time: a kernel of gsplat takes few."""
    parts = [channels.new_zeros(camera.height, camera.width, 0)]
    for some in channels.split(CHANNEL_CHUNK, dim=1) if channels.shape[1] else ():
        drawn, _ = gsplat.rasterize_to_pixels(
            found["means2d"].detach(),
            found["conics"].detach(),
            some[None].contiguous(),
            found["opacities"].detach(),
            camera.width,
            camera.height,
            found["tile_size"],
            found["isect_offsets"],
            found["flatten_ids"],
        )
        parts.append(drawn[0])
    return torch.cat(parts, dim=-1)


def _gsplat() -> Any:
    try:
        import gsplat
    except ImportError as error:
        raise MissingDependencyError(
            f"the gsplat backend needs gsplat ({error}); install splatsweep[gpu] or use backend 'torch'"
        ) from None
    return gsplat
