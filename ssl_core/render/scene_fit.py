"""Fit Gaussians with any number of extra channels to the posed pictures of a scene; resumable at every iteration.

The optimisation of Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering", with channels as
in Feature 3DGS (Zhou et al. 2024) and FiT3D (Yue et al. 2024, section 3.1).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.errors import CheckpointError, DataError, DivergedError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.losses.photometric import photometric_loss, psnr
from ssl_core.render.adam import Adam
from ssl_core.render.channel_parameters import ChannelParameters
from ssl_core.render.densify import Pulls, densified
from ssl_core.render.gaussian_raster import ChannelRendering, render_channels
from ssl_core.render.gaussian_table import OPACITY, XYZ, cloud_of, table_of, tensors_of
from ssl_core.render.gaussian_tensors import GaussianTensors
from ssl_core.render.scene_fit_config import FitSchedule, SceneFitConfig
from ssl_core.render.scene_start import random_points, scene_extent, starting_gaussians
from ssl_core.scenes.cameras import Camera, ScenePoints

ChannelLoss = Callable[[int, Tensor], Tensor]
"""Index of a view and the channels' picture [H, W, C] -> a loss that is added as it is."""

_ORDER, _START, _SPLIT, _CHANNEL_ORDER = range(4)
"""What random numbers are for: each has its own, so that none depends on whether others are drawn."""


@dataclass(frozen=True)
class FitViews:
    """Pictures [H, W, 3], uint8 or float32 in [0, 1], each of any size, with their cameras.

    Masks [H, W], uint8 or float32 in [0, 1]: where one is zero a pixel is not fitted. None, or a None among them: all
    pixels are.
    """

    images: Sequence[NDArray[Any]]
    cameras: Sequence[Camera]
    masks: Sequence[NDArray[Any] | None] | None = None

    def __post_init__(self) -> None:
        if len(self.images) == 0 or len(self.images) != len(self.cameras):
            raise DataError(f"{len(self.images)} images and {len(self.cameras)} cameras; give one camera per image")
        masks = self.masks if self.masks is not None else [None] * len(self.images)
        if len(masks) != len(self.images):
            raise DataError(f"{len(self.images)} images and {len(masks)} masks; give one per image, or None")
        for i, (image, camera, mask) in enumerate(zip(self.images, self.cameras, masks, strict=True)):
            size = (camera.height, camera.width)
            if image.shape != (*size, 3) or (mask is not None and mask.shape != size):
                found = f"image {list(image.shape)}, mask {None if mask is None else list(mask.shape)}"
                raise DataError(f"view {i}: {found}, camera {camera.width} x {camera.height}; give all in one size")


@dataclass(frozen=True)
class FitProgress:
    """Of the iterations just made: photometric and channel losses, [iterations]; 0 where there is none."""

    losses: NDArray[np.float32]
    channel_losses: NDArray[np.float32]
    gaussians: int  # how many there are now


class Fit:
    """Gaussians on their way to look like the views.

    Args:
        config: rates and schedule.
        views: what to look like.
        points: where to begin; None: at random ones, see `random_points`.
        channels: how many numbers each Gaussian carries besides colour.
        decoder: what a channel loss passes the channels' picture through; trained along, and part of the state. It
            has no buffers.
        seed: of order, start and splits.
        device: where everything happens.

    Raises DataError: views from a single place, or too few points.
    """

    def __init__(
        self,
        config: SceneFitConfig,
        views: FitViews,
        points: ScenePoints | None,
        *,
        channels: int = 0,
        decoder: nn.Module | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.schedule = FitSchedule(config)
        self.extent = scene_extent(views.cameras)
        self.iteration = 0
        self._cameras = list(views.cameras)
        self._images = [torch.tensor(image, device=device) for image in views.images]
        masks = views.masks if views.masks is not None else [None] * len(self._images)
        self._masks = [None if mask is None else torch.tensor(mask, device=device) for mask in masks]
        rng = np.random.default_rng([seed, _START])
        start = points if points is not None else random_points(views.cameras, config.random_points, rng)
        table = table_of(starting_gaussians(start, config.sh_degree), device)
        self._geometry = Adam(table, self._rates(table.shape[1]))
        self.begin_channels(channels, decoder)
        self._pulls = Pulls.none(len(table), self.device)

    def begin_channels(self, channels: int, decoder: nn.Module | None = None) -> None:
        """Other channels and another decoder, from their start, on the Gaussians that there are.

        Fits of the same views share their Gaussians so: fitted once without channels, saved, loaded and begun on.
        """
        self.channel_iteration = 0
        rng = np.random.default_rng([self.seed, _START, 1])
        self._channels = ChannelParameters((len(self), channels), decoder, self.config, rng, self.device)

    def advance(self, iterations: int, channel_loss: ChannelLoss | None = None) -> FitProgress:
        """Go on by some iterations, not beyond the config's.

        `channel_loss` is added to the loss of pictures; its gradient moves channels and decoder, and, where the config
        does not detach them, the Gaussians.

        Raises DivergedError: a loss became non-finite, or no Gaussian is left.
        """
        iterations = min(iterations, self.config.iterations - self.iteration)
        losses = np.zeros((2, max(0, iterations)), dtype=np.float32)
        for i in range(iterations):
            losses[:, i] = self._step(self.view_at(self.iteration), channel_loss)
        return FitProgress(losses[0], losses[1], len(self))

    def advance_channels(self, iterations: int, channel_loss: ChannelLoss) -> FitProgress:
        """Train channels and decoder alone, with the Gaussians as they are: a fraction of the cost.

        Counts on its own: at most the config's `iterations` of these, too.
        """
        iterations = min(iterations, self.config.iterations - self.channel_iteration)
        losses = np.zeros(max(0, iterations), dtype=np.float32)
        for i in range(iterations):
            view = self.view_at(self.channel_iteration, _CHANNEL_ORDER)
            drawn = self._draw(self.gaussians(), self._cameras[view])
            loss = channel_loss(view, drawn.channels)
            losses[i] = self._finite(loss)
            self._channels.move(torch.autograd.grad(loss, self._channels.leaves(), allow_unused=True))
            self.channel_iteration += 1
        return FitProgress(np.zeros_like(losses), losses, len(self))

    def view_at(self, iteration: int, purpose: int = _ORDER) -> int:
        """Index of the view that an iteration, counted from zero, looks at: all in random order, again and again."""
        turn, place = divmod(iteration, len(self._cameras))
        return int(np.random.default_rng([self.seed, purpose, turn]).permutation(len(self._cameras))[place])

    def __len__(self) -> int:
        return len(self._geometry.parameters)

    @property
    def channels(self) -> Tensor:
        """[N, C], a leaf of the gradient."""
        return self._channels.values

    @property
    def decoder(self) -> nn.Module | None:
        """The module that was given."""
        return self._channels.decoder

    def gaussians(self) -> GaussianTensors:
        """What has been fitted so far, without gradient; views of what further iterations change in place."""
        return tensors_of(self._geometry.parameters.detach())

    def cloud(self) -> GaussianCloud:
        """The same, copied, as files store it."""
        return cloud_of(self._geometry.parameters.clone())

    @torch.no_grad()
    def render(self, camera: Camera) -> ChannelRendering:
        """A picture with channels, without gradient."""
        return self._draw(self.gaussians(), camera)

    def psnr(self, views: FitViews) -> float:
        """Mean over views of the peak signal-to-noise ratio, dB. Masks are not looked at."""
        images = [_unit(torch.tensor(image, device=self.device)) for image in views.images]
        pairs = zip(images, views.cameras, strict=True)
        return float(np.mean([psnr(self.render(camera).image, image) for image, camera in pairs]))

    def state(self) -> dict[str, Tensor]:
        """All that changes, as named tensors: another `Fit` of the same arguments goes on from it bit for bit."""
        state = {
            f"{name}.{key}": value for name, each in self._optimisers().items() for key, value in each.state().items()
        }
        state |= {f"pulls.{key}": value for key, value in vars(self._pulls).items()}
        state |= {"iterations": torch.tensor([self.iteration, self.channel_iteration])}
        return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a `state()`.

        Raises CheckpointError: it is of a fit with other columns, channels or decoder.
        """
        own = self.state()
        for name in sorted(own.keys() | state.keys()):
            found, expected = (list(each[name].shape[1:]) if name in each else None for each in (state, own))
            if found != expected:
                raise CheckpointError(
                    f"the state of the fit has {name} with columns {found}, this fit {expected}; "
                    "resume with the settings that it was begun with"
                )
        for name, each in self._optimisers().items():
            each.load({key: state[f"{name}.{key}"] for key in each.state()})
        self._channels.give_to_decoder()
        self._pulls = Pulls(*(state[f"pulls.{key}"].to(self.device) for key in vars(self._pulls)))
        self.iteration, self.channel_iteration = state["iterations"].tolist()

    def _optimisers(self) -> dict[str, Adam]:
        return {"geometry": self._geometry} | self._channels.optimisers()

    def _step(self, view: int, channel_loss: ChannelLoss | None) -> tuple[float, float]:
        """One iteration: photometric and channel loss before it."""
        self.iteration += 1
        table = self._geometry.parameters
        drawn = self._draw(tensors_of(table, self.schedule.coefficients(self.iteration)), self._cameras[view])
        loss = self._photometric(drawn.image, view)
        beside = torch.zeros(()) if channel_loss is None else channel_loss(view, drawn.channels)
        values = self._finite(loss), self._finite(beside)
        leaves = [table, drawn.means, *self._channels.leaves()]
        total = loss if channel_loss is None else loss + beside
        of_table, of_means, *others = torch.autograd.grad(total, leaves, allow_unused=True)
        if self.schedule.gathers(self.iteration):
            camera = self._cameras[view]
            self._pulls.see(of_means.reshape(-1, 2), drawn.radii, (camera.width, camera.height))
        last = self.iteration == self.config.iterations
        if not (last and self.config.defects.last_step_lost):
            self._update(of_table, others)
        return values

    def _update(self, of_table: Tensor, others: Sequence[Tensor | None]) -> None:
        """Move everything, then add and remove Gaussians where it is time."""
        changes = self.schedule.densifies(self.iteration)
        resets = self.schedule.resets_opacity(self.iteration)
        if not (changes and self.config.defects.changed_step_lost):
            self._geometry.rates[XYZ] = self.schedule.xyz_rate(self.iteration) * self.extent
            if resets and self.config.defects.changed_step_lost:
                of_table[:, OPACITY] = 0
            self._geometry.step(of_table)
            self._channels.move(others)
        if changes:
            self._densify()
        if resets:
            self._reset_opacity()

    @torch.no_grad()
    def _densify(self) -> None:
        rng = np.random.default_rng([self.seed, _SPLIT, self.iteration])
        change = densified(
            self._geometry.parameters.detach(),
            self._pulls,
            self.extent,
            self.config.densify,
            rng,
            large_go=self.schedule.removes_large(self.iteration),
        )
        self._channels.replace_rows(change.kept, change.parents)
        self._geometry.replace_rows(change.kept, change.added)
        self._pulls = Pulls.none(len(self), self.device)
        if len(self) == 0:
            raise DivergedError(f"no Gaussian is left at iteration {self.iteration}; lower densify.min_opacity")

    @torch.no_grad()
    def _reset_opacity(self) -> None:
        share = self.config.densify.reset_opacity_to
        self._geometry.parameters[:, OPACITY].clamp_(max=math.log(share / (1 - share)))
        self._geometry.mean[:, OPACITY] = 0
        self._geometry.square[:, OPACITY] = 0

    def _photometric(self, image: Tensor, view: int) -> Tensor:
        """Loss of a picture; masked pixels are replaced by the prediction, which is a constant there."""
        target, mask = _unit(self._images[view]), self._masks[view]
        if mask is None:
            return photometric_loss(image, target, self.config.dssim)
        share = _unit(mask)[..., None]
        loss = photometric_loss(image, share * target + (1 - share) * image.detach(), self.config.dssim)
        return loss if self.config.defects.masked_pixels_counted else loss / share.mean().clamp_min(1e-6)

    def _draw(self, gaussians: GaussianTensors, camera: Camera) -> ChannelRendering:
        return render_channels(
            gaussians,
            self.channels,
            camera,
            background=self.config.background,
            detach_geometry=self.config.detach_geometry,
            near=self.config.near,
        )

    def _finite(self, loss: Tensor) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(f"the fit's loss is {value} at iteration {self.iteration}; lower its learning rates")
        return value

    def _rates(self, columns: int) -> Tensor:
        """[D] learning rates of a table; those of centres are set each iteration."""
        config = self.config
        rates = [0.0] * 3 + [config.quaternion_lr] * 4 + [config.log_scale_lr] * 3 + [config.opacity_lr]
        rates += [config.sh_dc_lr] * 3
        rates += [config.sh_rest_lr] * (columns - len(rates))
        return config.rates * torch.tensor(rates, device=self.device)


def _unit(pixels: Tensor) -> Tensor:
    """uint8 as float32 in [0, 1]; floats as they are."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
