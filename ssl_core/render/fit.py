"""Fit Gaussians to pictures: Adam on every parameter, one view a step, no densification.

Kerbl et al. 2023 with a start that already lies on the surface, so that a hundred-odd steps do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ssl_core.config import Config
from ssl_core.errors import DataError, DivergedError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.losses.photometric import psnr
from ssl_core.render.adam import Adam
from ssl_core.render.gaussian_raster import render_gaussians
from ssl_core.render.gaussian_table import cloud_of, table_of, tensors_of
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.scenes.cameras import Camera


class FitConfig(Config):
    """How Gaussians are fitted. Learning rates are for objects in the unit sphere."""

    gaussians: int = Field(default=2000, ge=1, le=1_000_000)
    steps: int = Field(default=100, ge=0, le=1_000_000)
    xyz_lr: float = Field(default=1e-3, gt=0)
    quaternion_lr: float = Field(default=1e-2, gt=0)
    log_scale_lr: float = Field(default=2e-2, gt=0)
    opacity_lr: float = Field(default=5e-2, gt=0)
    sh_dc_lr: float = Field(default=2e-2, gt=0)
    sh_rest_lr: float = Field(default=1e-3, gt=0)
    final_lr_share: float = Field(default=0.03, gt=0, le=1, description="of each rate, at the end")
    seed: int = Field(default=0, ge=0, description="of the order of views")


@dataclass(frozen=True)
class FitResult:
    """The fitted Gaussians, and the mean absolute error of each step's view, [steps]."""

    cloud: GaussianCloud
    losses: NDArray[np.float32]


def fit_gaussians(
    images: NDArray[np.float32],
    cameras: Sequence[Camera],
    init: GaussianCloud,
    config: FitConfig,
    *,
    device: str | torch.device = "cpu",
) -> FitResult:
    """Move `init` until it looks like `images`, which are on white.

    Images are [V, H, W, 3] float32 in [0, 1], with one camera each.

    Raises:
        DataError: no views, or not one camera per view.
        DivergedError: the loss became non-finite.
    """
    if len(images) == 0 or len(images) != len(cameras):
        raise DataError(f"{len(images)} images and {len(cameras)} cameras to fit; give one camera per image")
    parameters = table_of(init, device)
    optimiser = Adam(parameters, _rates(init.sh_rest.shape[1], config, device))
    targets = torch.as_tensor(images, dtype=torch.float32, device=device)
    losses = np.zeros(config.steps, dtype=np.float32)
    for step, view in enumerate(_view_order(len(cameras), config)):
        drawn = render_gaussians(tensors_of(parameters), cameras[view])
        loss = (drawn.image - targets[view]).abs().mean()
        losses[step] = loss.item()
        if not math.isfinite(losses[step]):
            raise DivergedError(f"the fit's loss is {losses[step]} at step {step}; lower its learning rates")
        (gradient,) = torch.autograd.grad(loss, parameters)
        optimiser.step(gradient, _cosine(step, config))
    return FitResult(cloud_of(parameters), losses)


def mean_psnr(
    cloud: GaussianCloud, images: NDArray[np.float32], cameras: Sequence[Camera], *, device: str | torch.device = "cpu"
) -> float:
    """Mean over views of the peak signal-to-noise ratio, in dB; images as in `fit_gaussians`."""
    gaussians = GaussianTensors.from_cloud(cloud, device=device)
    values = []
    with torch.no_grad():
        for image, camera in zip(images, cameras, strict=True):
            drawn = render_gaussians(gaussians, camera)
            target = torch.as_tensor(image, device=device)
            values.append(psnr(drawn.image, target))
    return float(np.mean(values))


def _rates(rest: int, config: FitConfig, device: str | torch.device) -> Tensor:
    """[11 + 3K] learning rate of each column of `table_of`."""
    rates = [config.xyz_lr] * 3 + [config.quaternion_lr] * 4 + [config.log_scale_lr] * 3 + [config.opacity_lr]
    rates += [config.sh_dc_lr] * 3 + [config.sh_rest_lr] * (3 * rest)
    return torch.tensor(rates, device=device)


def _cosine(step: int, config: FitConfig) -> float:
    share = config.final_lr_share
    return share + (1 - share) * (1 + math.cos(math.pi * step / max(1, config.steps))) / 2


def _view_order(views: int, config: FitConfig) -> list[int]:
    """One view per step: all views in random order, again and again."""
    rng = np.random.default_rng(config.seed)
    rounds = [rng.permutation(views) for _ in range(math.ceil(config.steps / views))]
    return [int(view) for view in np.concatenate([np.empty(0, int), *rounds])[: config.steps]]
