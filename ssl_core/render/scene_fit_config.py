"""How the Gaussians of a scene are fitted, and when what happens."""

from typing import Literal

from pydantic import Field

from ssl_core.config import Config
from ssl_core.render.densify import DensifyConfig


class OriginalDefects(Config):
    """What the authors' code does and did not mean; False is what was meant."""

    last_step_lost: bool = Field(default=False, description="the last iteration computes a gradient and throws it away")
    changed_step_lost: bool = Field(
        default=False,
        description="so does every iteration that adds and removes Gaussians, and that resets opacities for these",
    )
    masked_pixels_counted: bool = Field(
        default=False, description="masked pixels have no error and are counted in the mean all the same"
    )


class SceneFitConfig(Config):
    """3D Gaussian splatting of a scene (Kerbl et al. 2023) with the constants of the authors' code.

    Whatever happens at or until some iteration is written for a run of `reference_iterations` and scaled to
    `iterations`. A run that is advanced by less than `iterations` is the beginning of the longer one.
    """

    iterations: int = Field(default=30_000, ge=1, le=1_000_000, description="one view each")
    reference_iterations: int = Field(default=30_000, ge=1, description="length of the run that the numbers are for")
    sh_degree: int = Field(default=3, ge=0, le=3)
    sh_every: int = Field(default=1000, ge=1, description="iterations after which the degree in use grows by one")
    dssim: float = Field(
        default=0.2, ge=0, le=1, description="share of 1 - SSIM in the loss, of absolute error the rest"
    )
    rates: float = Field(
        default=1.0,
        gt=0,
        description="learning rates of Gaussians times this; runs of some hundred iterations want 3",
    )
    xyz_lr: float = Field(default=1.6e-4, gt=0, description="times the scene's extent, as the next one")
    final_xyz_lr: float = Field(default=1.6e-6, gt=0, description="reached exponentially")
    quaternion_lr: float = Field(default=1e-3, gt=0)
    log_scale_lr: float = Field(default=5e-3, gt=0)
    opacity_lr: float = Field(default=0.05, gt=0)
    sh_dc_lr: float = Field(default=2.5e-3, gt=0)
    sh_rest_lr: float = Field(default=2.5e-3 / 20, gt=0)
    channel_travel: float = Field(
        default=1.875,
        gt=0,
        description="learning rate of the channels times iterations, about the farthest that Adam moves one: "
        "1.875 in FiT3D, 30 in Label-3DGS",
    )
    decoder_travel: float = Field(default=1.875, gt=0, description="the same of a decoder's weights")
    channel_start: Literal["zeros", "random"] = Field(
        default="zeros", description="zeros as in both codes; random, standard normal, as the paper of FiT3D says"
    )
    detach_geometry: bool = Field(default=True, description="channels do not move Gaussians")
    densify: DensifyConfig = DensifyConfig()
    random_points: int = Field(
        default=100_000, ge=4, le=3_000_000, description="at the start, for scenes without points"
    )
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    near: float = Field(default=0.2, gt=0, description="nothing nearer to the camera's plane is drawn, world units")
    defects: OriginalDefects = OriginalDefects()


class FitSchedule:
    """The iterations, counted from one, at which something happens in a run of a config's length."""

    def __init__(self, config: SceneFitConfig) -> None:
        self.config = config
        self.scale = config.iterations / config.reference_iterations

    def coefficients(self, iteration: int) -> int:
        """Spherical-harmonic coefficients in use, per colour."""
        degree = min(self.config.sh_degree, iteration // self._every(self.config.sh_every))
        return (degree + 1) ** 2

    def xyz_rate(self, iteration: int) -> float:
        """Learning rate of centres, in extents."""
        passed = min(1.0, iteration / self.config.iterations)
        first, last = self.config.xyz_lr, self.config.final_xyz_lr
        return float(self.config.rates * first ** (1 - passed) * last**passed)

    def gathers(self, iteration: int) -> bool:
        """Whether pulls at Gaussians are still noted."""
        return self.config.densify.enabled and iteration < self.config.densify.until * self.scale

    def densifies(self, iteration: int) -> bool:
        """Whether Gaussians are added and removed."""
        densify = self.config.densify
        if not self.gathers(iteration) or iteration <= self._after():
            return False
        return iteration % self._every(densify.every, densify.every_at_least) == 0

    def resets_opacity(self, iteration: int) -> bool:
        """Whether opacities are cut down."""
        first = self.config.background == (1.0, 1.0, 1.0) and iteration == self._after()
        return self.gathers(iteration) and (first or iteration % self._reset_every() == 0)

    def removes_large(self, iteration: int) -> bool:
        """Whether large Gaussians are removed among others."""
        return iteration > self._reset_every()

    def _after(self) -> int:
        densify = self.config.densify
        return max(densify.after_at_least, round(densify.after * self.scale))

    def _reset_every(self) -> int:
        densify = self.config.densify
        return self._every(densify.reset_opacity_every, densify.reset_at_least)

    def _every(self, iterations: int, at_least: int = 1) -> int:
        return max(at_least, round(iterations * self.scale))
