"""gsplat behind the project's rasteriser signature; the only file that imports it (Apache-2.0, optional extra `gpu`).

gsplat builds its CUDA code at the first call: that takes minutes and needs nvcc and g++. Set TORCH_EXTENSIONS_DIR to
keep the build, and TORCH_CUDA_ARCH_LIST where it is built without a visible device. Tests marked `gpu` compare it with
the torch rasteriser and need a CUDA device; so far this file has been read and type-checked, not run on one.
"""

from typing import Any

import torch
from torch import Tensor

from ssl_core.errors import MissingDependencyError
from ssl_core.render.projection import DILATION, NEAR
from ssl_core.scenes.cameras import Camera


def rasterise(
    xyz: Tensor, quaternions: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, camera: Camera
) -> tuple[Tensor, Tensor, Tensor]:
    """[H, W, C] colours without background, [H, W] alpha, [H, W] mean depth (0 where nothing is seen), on CUDA.

    Of centres [N, 3], quaternions [N, 4] wxyz, standard deviations [N, 3] (not logarithms), opacities [N] in [0, 1]
    (not logits) and colours [N, C].

    Raises MissingDependencyError: gsplat is not installed, or the tensors are not on a CUDA device.
    """
    rasterization = _gsplat()
    if not xyz.is_cuda:
        raise MissingDependencyError(
            "gsplat draws on CUDA only and these Gaussians are on the CPU; use backend 'torch' or 'auto'"
        )
    view = torch.as_tensor(camera.viewmat, dtype=torch.float32, device=xyz.device)[None]
    K = torch.as_tensor(camera.K, dtype=torch.float32, device=xyz.device)[None]
    image, alpha, _ = rasterization(
        xyz,
        quaternions,
        scales,
        opacities,
        colours,
        view,
        K,
        camera.width,
        camera.height,
        near_plane=NEAR,
        eps2d=DILATION,
        packed=False,
        render_mode="RGB+ED",
    )
    return image[0, ..., :-1], alpha[0, ..., 0], image[0, ..., -1]


def _gsplat() -> Any:
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise MissingDependencyError(
            f"the gsplat backend needs gsplat ({error}); install splatsweep[gpu] or use backend 'torch'"
        ) from None
    return rasterization
