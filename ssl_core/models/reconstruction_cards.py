"""Cards of what reads one image of an object and is no encoder: its coloured cloud, and from where it is seen."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from ssl_core.contracts import ImageContract
from ssl_core.models.build import seeded_weights
from ssl_core.models.card_contract import CardText, ModelCard
from ssl_core.models.reconstruction import (
    Latent,
    Mirror,
    PoseNetwork,
    PoseRepresentation,
    ReconCnnConfig,
    Reconstructor,
    ShapeNetwork,
)

_TAKES = (
    "RGB in [0, 1] over a **black** background: one object, centred, of the size that it has in the training views (a "
    "camera {distance} object units away whose focal length is {focal} of the image's side). Pictures with "
    "transparency are laid over black when they are read."
)
_LIMITS = (
    "Made for objects as in training{classes}; anything else is drawn as one of them.",
    "A picture with a background of its own needs a mask first.",
)


class _SingleViewCard(ModelCard):
    """What both kinds of card share: images of a size over black, and the camera that took them."""

    input_name = "image"
    image_size: int = Field(default=64, ge=16, le=128, description="side of the image in pixels")
    width: float = Field(default=1.0, ge=0.05, le=2.0, description="factor on the network's widths")
    classes: tuple[str, ...] = Field(default=(), description="classes that it was trained on; empty: all of its pack")
    distance: float = Field(default=2.0, gt=0, description="of the camera from the object's centre, in object units")
    focal: float = Field(default=120 / 64, gt=0, description="focal length as a share of the image's side")

    @property
    def contract(self) -> ImageContract:
        """What its images have to be."""
        return ImageContract(image_size=self.image_size, background="black")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.contract.input_shape

    def example(self, batch: int) -> Tensor:
        return self.contract.example(batch)

    def _takes(self) -> str:
        return _TAKES.format(distance=f"{self.distance:g}", focal=f"{self.focal:.4g}")

    def _limits(self) -> tuple[str, ...]:
        return tuple(text.format(classes=f" ({', '.join(self.classes)})" if self.classes else "") for text in _LIMITS)

    def _sample(self) -> str:
        return f"torch.rand(4, 3, {self.image_size}, {self.image_size})  # four pictures, RGB in [0, 1] over black"


class ReconstructorCard(_SingleViewCard):
    """Images [B, 3, S, S] over black -> coloured clouds [B, N, 6]: xyz in the canonical frame, RGB in [0, 1]."""

    output_name = "cloud"
    kind: Literal["reconstructor"] = "reconstructor"
    num_points: int = Field(default=1024, ge=8, le=16384)
    bottleneck: int = Field(default=128, ge=8, le=1024, description="width of the latent")
    latent: Latent = Field(default="relu", description="what follows the bottleneck")
    mirror: Mirror = Field(
        default="none", description="coordinates in which clouds are symmetric before their alignment"
    )

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.num_points, 6)

    @property
    def backbone(self) -> ReconCnnConfig:
        """Of an image encoder over the same features."""
        return ReconCnnConfig(bottleneck=self.bottleneck, width=self.width, latent=self.latent)

    def build(self, seed: int) -> Reconstructor:
        with seeded_weights(seed):
            return Reconstructor(ShapeNetwork(self.image_size, self.num_points, self.backbone, self.mirror))

    def describe(self) -> CardText:
        return CardText(
            title="Reconstructor",
            network="convolutional encoder, fully connected decoder",
            does=f"turns one image of an object into a coloured cloud of {self.num_points} points",
            purpose=(
                "The cloud is whole, its hidden side is guessed from what such objects look like. It lies in the "
                "canonical frame of the training pack, z up, whatever way the object is seen from."
            ),
            takes=self._takes(),
            sample=self._sample(),
            reads="images",
            method="reconstruct",
            limits=(*self._limits(), "Fine structure that is thinner than the points' distance is lost."),
        )


class PoseEstimatorCard(_SingleViewCard):
    """Images [B, 3, S, S] over black -> azimuth and elevation [B, 2] of the camera, in radians."""

    output_name = "angles"
    kind: Literal["pose_estimator"] = "pose_estimator"
    representation: PoseRepresentation = "sincos"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (2,)

    def build(self, seed: int) -> PoseNetwork:
        with seeded_weights(seed):
            return PoseNetwork(self.image_size, self.width, self.representation)

    def describe(self) -> CardText:
        return CardText(
            title="Pose estimator",
            network="convolutional network",
            does="tells from which azimuth and elevation an object is seen",
            purpose=(
                "Angles are those of a camera that looks at the object's centre, in radians. They are learnt without "
                "poses: one rotation, the same for all images, lies between their frame and any other."
            ),
            takes=self._takes(),
            sample=self._sample(),
            reads="images",
            method="estimate_poses",
            limits=(*self._limits(), "Symmetric objects look alike from several sides: any of these may be told."),
        )
