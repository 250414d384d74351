"""The card of a scene field: Gaussians with class scores, of one scene."""

import math
from colorsys import hsv_to_rgb
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from ssl_core.gaussians.formats.gaussian_properties import INRIA_PROPERTIES
from ssl_core.models.build import seeded_weights
from ssl_core.models.card_contract import CardText, ModelCard
from ssl_core.models.gaussian_field import FIXED_OUTPUTS, LABEL, Activation, FieldShape, GaussianField
from ssl_core.render.projection import NEAR
from ssl_core.render.spherical_harmonics import COUNTS
from ssl_core.render.traced_raster import CAMERA
from ssl_core.scenes.cameras import GOLDEN_FRACTION

CameraNumbers = tuple[
    float, float, float, float, float, float, float, float, float, float, float, float, float, float, float, float
]
_FRONT: CameraNumbers = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 24, 24, 16, 16)
"""At the origin, looking along z, for a picture of 32 pixels."""


class SceneFieldCard(ModelCard):
    """Cameras [B, 16] -> views [B, 6 + C, H, W] of one scene (`ssl_core.models.gaussian_field`)."""

    input_name, output_name = "cameras", "views"
    kind: Literal["scene_field"] = "scene_field"
    scene: str = Field(default="", description="name of the scene in its pack")
    gaussians: int = Field(default=256, ge=1, le=5_000_000)
    sh_degree: int = Field(default=0, ge=0, le=3)
    classes: tuple[str, ...] = Field(default=(), max_length=255, description="names, in the order of the scores")
    palette: tuple[tuple[int, int, int], ...] = Field(default=(), description="RGB of each class; empty: made up")
    channels: int = Field(
        default=0, ge=0, le=4096, description="blended ones of a Gaussian; with no decoder the scores"
    )
    activation: Activation = "none"
    embedding: int = Field(default=0, ge=0, le=4096, description="width of the features that channels stand for")
    decodes: bool = Field(default=False, description="whether a linear layer turns channels into features")
    width: int = Field(default=32, ge=4, le=1024, description="of the picture that the program draws, in pixels")
    height: int = Field(default=32, ge=4, le=1024)
    normalised: bool = Field(default=False, description="whether blended channels are divided by coverage")
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)
    near: float = Field(default=NEAR, ge=0, description="Gaussians nearer to a camera's plane are not drawn")
    examples: tuple[CameraNumbers, ...] = Field(default=(_FRONT,), min_length=1, max_length=8)
    depths: tuple[float, float] = Field(default=(1.0, 4.0), description="of the scene, as the examples see it")
    cameras: int = Field(default=0, ge=0, le=50_000, description="that it was fitted with, held in the weights")
    teacher: str = Field(default="", max_length=400, description="where its labels are from")
    teacher_views: tuple[str, ...] = Field(default=(), description="held-out views whose teacher's labels it holds")
    teacher_size: tuple[int, int] = Field(default=(0, 0), description="height and width of these")
    geometry_from_labels: bool = Field(default=False, description="whether the labels' loss moved Gaussians, too")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.palette and len(self.palette) != len(self.classes):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.embedding == 0 and self.channels != len(self.classes):
            raise ValueError(f"channels {self.channels} are no scores of {len(self.classes)} classes")
        if self.embedding and not self.decodes and self.channels != self.embedding:
            raise ValueError(f"channels {self.channels} are no features of width {self.embedding} and nothing decodes")
        if not 0 < self.depths[0] <= self.depths[1] < math.inf:
            raise ValueError(f"depths {list(self.depths)} are no range in front of a camera")
        return self

    @property
    def colours(self) -> NDArray[np.uint8]:
        """[C, 3] that classes are drawn in."""
        made = [[round(255 * part) for part in hsv_to_rgb(GOLDEN_FRACTION * i % 1, 0.65, 0.95)]
                for i in range(len(self.classes))]  # fmt: skip
        return np.array(self.palette or made, np.uint8).reshape(-1, 3)

    @property
    def bytes_per_gaussian(self) -> float:
        """Of the .ply that it is exported as, whose colours have degree 3, and of its decoder and embeddings."""
        beside = 4 * len(self.classes) * self.embedding
        beside += 4 * (self.channels + 1) * self.embedding if self.decodes else 0
        return 4.0 * (len(INRIA_PROPERTIES) + self.channels) + beside / self.gaussians

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (CAMERA,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (FIXED_OUTPUTS + len(self.classes), self.height, self.width)

    @property
    def near_ties(self) -> float:
        """Every picture has pixels where a Gaussian is just above or below the least opacity that is drawn."""
        return 1.0

    def comparable(self, outputs: Tensor) -> Tensor:
        """Without the label, a choice that a last digit may decide."""
        return torch.cat((outputs[:, :LABEL], outputs[:, LABEL + 1 :]), dim=1)

    def build(self, seed: int) -> GaussianField:
        """Untrained: Gaussians of random place, colour and scores in front of the example cameras."""
        shape = FieldShape(
            gaussians=self.gaussians,
            coefficients=COUNTS[self.sh_degree],
            channels=self.channels,
            classes=len(self.classes),
            size=(self.width, self.height),
            activation=self.activation,
            embedding=self.embedding,
            decodes=self.decodes,
            normalised=self.normalised,
            background=self.background,
            near=self.near,
        )
        with seeded_weights(seed):
            field = GaussianField(shape, self.cameras, (len(self.teacher_views), *self.teacher_size))
            near, far = self.depths
            with torch.no_grad():
                field.xyz.copy_(self._places())
                field.log_scales.fill_(math.log(0.5 * (near + far) / max(4.0, self.gaussians ** (1 / 2))))
                field.sh[:, 0].normal_()
                field.channels.normal_()
                field.get_buffer("embeddings").normal_()
        return field

    def _places(self) -> Tensor:
        """[N, 3] points seen in random pixels of the examples, at random depths of the range."""
        numbers = torch.tensor(self.examples)
        camera = numbers[torch.arange(self.gaussians) % len(numbers)]
        view, (fx, fy, cx, cy) = camera[:, :12].reshape(-1, 3, 4), camera[:, 12:].unbind(1)
        pixel = torch.rand(self.gaussians, 2) * torch.tensor([self.width, self.height])
        depth = self.depths[0] + torch.rand(self.gaussians) * (self.depths[1] - self.depths[0])
        ray = torch.stack(((pixel[:, 0] - cx) / fx, (pixel[:, 1] - cy) / fy, torch.ones_like(fx)), dim=1)
        return ((ray * depth[:, None] - view[:, :, 3])[:, None] @ view[:, :, :3])[:, 0]

    def example(self, batch: int) -> Tensor:
        """The example cameras in turn."""
        return torch.tensor([self.examples[i % len(self.examples)] for i in range(batch)], dtype=torch.float32)

    def describe(self) -> CardText:
        named = ", ".join(self.classes) if self.classes else "none"
        scores = f"; 6–{5 + len(self.classes)}: scores of the classes in this order: {named}" if self.classes else ""
        return CardText(
            title="Scene field",
            network="3D Gaussians" + (" with a linear decoder" if self.decodes else ""),
            does=f"draws one scene from any camera: colours, depth, coverage and labels of {len(self.classes)} classes",
            purpose=(
                "It renders the scene that it was fitted to from new cameras, and labels that agree between them: "
                "for viewing, and as a source of labels for training others."
            ),
            takes=(
                "- columns 0–11: the upper three rows of `viewmat` (world to camera, OpenCV axes), row by row\n"
                f"- columns 12–15: fx, fy, cx, cy in pixels of a picture of {self.width} x {self.height}\n\n"
                "Channels of a view: 0–2 RGB in [0, 1]; 3 depth along z in world units; 4 coverage; 5 label "
                f"(255 where coverage is below 0.5){scores}. Larger pictures: shift cx and cy and draw tile by tile, "
                "or `render`, which takes any size."
            ),
            sample="torch.tensor([[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 4, 30, 30, 16, 16.0]] * 4)  # four cameras",
            reads="cameras",
            method="render",
            limits=(
                "One scene, seen from where the training cameras were: views far from them are guesses.",
                *(("Labels are those of a fixed list, and were learnt from: " + self.teacher,) if self.teacher else ()),
            ),
        )
