"""Settings of the pairs of points and pixels that local contrast compares."""

from typing import Annotated, Literal

from pydantic import Field

from ssl_core.config import Config
from ssl_core.recipes.multiview_contrast.pair_sampling import PairSampler


class GaussianDepth(Config):
    """What hides what follows from the pack's own Gaussians, each an ellipsoid (`ssl_core.render.gaussian_depth`)."""

    kind: Literal["gaussians"] = "gaussians"
    extent: float = Field(default=2.0, gt=0, le=4, description="of the ellipsoids, in standard deviations")
    min_alpha: float = Field(default=0.3, ge=0, lt=1, description="Gaussians below this alpha hide nothing")


class BallDepth(Config):
    """A ball around each point, for packs whose scales and rotations say nothing of the surface."""

    kind: Literal["balls"] = "balls"
    radius: float = Field(default=0.05, gt=0, le=1, description="share of the object's radius")


DepthSource = Annotated[GaussianDepth | BallDepth, Field(discriminator="kind")]


class PairsConfig(Config):
    """Which points are seen in which pixels, and how many such pairs are compared. Read where loss.local_weight > 0."""

    per_object: int = Field(default=128, ge=2, description="pairs per object and step")
    sampler: PairSampler = "random"
    repeat: bool = Field(default=False, description="an object with fewer pairs has some of them twice, which is told")
    eps: float = Field(
        default=0.03, gt=0, le=1, description="how far behind the nearest surface is seen, share of the object's radius"
    )
    depth: DepthSource = GaussianDepth()
    stride: Literal[4, 8, 16, 32] = Field(default=16, description="of the teacher's maps, in pixels of its input")
    feature_dim: int = Field(default=128, ge=2, le=4096, description="of the space in which points meet pixels")
