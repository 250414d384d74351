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
from ssl_core.render.gaussian_raster import GaussianTensors, render_gaussians
from ssl_core.scenes.cameras import Camera

BETAS = (0.9, 0.999)
EPSILON = 1e-15
"""As Kerbl et al. 2023: gradients of a mean over pixels are tiny, and a larger one would drown them."""


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
    parameters = _flatten(init, device)
    optimiser = Adam(parameters, _rates(init.sh_rest.shape[1], config, device))
    targets = torch.as_tensor(images, dtype=torch.float32, device=device)
    losses = np.zeros(config.steps, dtype=np.float32)
    for step, view in enumerate(_view_order(len(cameras), config)):
        drawn = render_gaussians(_tensors(parameters), cameras[view])
        loss = (drawn.image - targets[view]).abs().mean()
        losses[step] = loss.item()
        if not math.isfinite(losses[step]):
            raise DivergedError(f"the fit's loss is {losses[step]} at step {step}; lower its learning rates")
        (gradient,) = torch.autograd.grad(loss, parameters)
        optimiser.step(gradient, _cosine(step, config))
    return FitResult(_cloud(parameters), losses)


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
            error = (drawn.image.clamp(0, 1) - target).square().mean().item()
            values.append(-10 * math.log10(max(error, 1e-12)))
    return float(np.mean(values))


class Adam:
    """Adam with one learning rate per column: moves `parameters` [N, D] in place; `rates` [D] are the learning rates.

    Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1. Why not torch.optim: its first use in a
    process loads torch's compiler, which takes seconds, as long as fitting one object does.
    """

    def __init__(self, parameters: Tensor, rates: Tensor) -> None:
        self.parameters = parameters
        self.rates = rates
        self.steps = 0
        self._mean = torch.zeros_like(parameters, requires_grad=False)
        self._square = torch.zeros_like(parameters, requires_grad=False)

    @torch.no_grad()
    def step(self, gradient: Tensor, share: float = 1.0) -> None:
        """One update along `gradient` [N, D], with `share` of every rate."""
        self.steps += 1
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.lerp_(gradient * gradient, 1 - BETAS[1])
        mean = self._mean / (1 - BETAS[0] ** self.steps)
        root = (self._square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        self.parameters.sub_(mean.div_(root).mul_(self.rates * share))


def _flatten(cloud: GaussianCloud, device: str | torch.device) -> Tensor:
    """All parameters in one leaf [N, 14 + 3K], so that one optimiser step is a handful of operations."""
    columns = [
        cloud.xyz,
        cloud.quaternions,
        cloud.log_scales,
        cloud.opacity_logits[:, None],
        cloud.sh_dc,
        cloud.sh_rest.reshape(len(cloud), -1),
    ]
    return torch.tensor(np.concatenate(columns, axis=1), device=device).requires_grad_()


def _rates(rest: int, config: FitConfig, device: str | torch.device) -> Tensor:
    """[14 + 3K] learning rate of each column of `_flatten`."""
    rates = [config.xyz_lr] * 3 + [config.quaternion_lr] * 4 + [config.log_scale_lr] * 3 + [config.opacity_lr]
    rates += [config.sh_dc_lr] * 3 + [config.sh_rest_lr] * (3 * rest)
    return torch.tensor(rates, device=device)


def _tensors(parameters: Tensor) -> GaussianTensors:
    return GaussianTensors(
        xyz=parameters[:, :3],
        quaternions=parameters[:, 3:7],
        log_scales=parameters[:, 7:10],
        opacity_logits=parameters[:, 10],
        sh=parameters[:, 11:].reshape(len(parameters), -1, 3),
    )


def _cloud(parameters: Tensor) -> GaussianCloud:
    fitted = _tensors(parameters.detach().cpu())
    assert fitted.sh is not None
    return GaussianCloud(
        xyz=fitted.xyz.numpy(),
        opacity_logits=fitted.opacity_logits.numpy(),
        log_scales=fitted.log_scales.numpy(),
        quaternions=fitted.quaternions.numpy(),
        sh_dc=fitted.sh[:, 0].numpy(),
        sh_rest=fitted.sh[:, 1:].numpy(),
    )


def _cosine(step: int, config: FitConfig) -> float:
    share = config.final_lr_share
    return share + (1 - share) * (1 + math.cos(math.pi * step / max(1, config.steps))) / 2


def _view_order(views: int, config: FitConfig) -> list[int]:
    """One view per step: all views in random order, again and again."""
    rng = np.random.default_rng(config.seed)
    rounds = [rng.permutation(views) for _ in range(math.ceil(config.steps / views))]
    return [int(view) for view in np.concatenate([np.empty(0, int), *rounds])[: config.steps]]
