"""What goes into an encoder: input contracts that travel with the weights.

points  [B, N, D] float32, columns in the contract's order
image   [B, 3, H, W] float32 in [0, 1]
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import ConfigError

FeatureGroup = Literal[
    "xyz",
    "opacity",
    "scale",
    "rotation",
    "sh_dc",
    "sh_rest",
    "normals",
    "normal_tensor",
    "covariance",
    "reference_color",
]
"""Ordered groups of Gaussian columns.

`normal_tensor` is n n^T of the normal n, as xx, yy, zz, xy, xz, yz: the same for n and -n, whose sign is noise on CAD.

`covariance` is log(Sigma) / 8 of the covariance Sigma in units of the sample's radius, plus the identity, in the same
order: scale and rotation in one, whatever the sign of the quaternion and the order of the axes. A standard deviation of
exp(-4) = 0.018 of the radius, usual for a Gaussian of an object, is 0.

`reference_color` is the cross-modal reference's defect: f_rest_0..43.
"""

FEATURE_WIDTH: dict[FeatureGroup, int] = {
    "xyz": 3,
    "opacity": 1,
    "scale": 3,
    "rotation": 4,
    "sh_dc": 3,
    "sh_rest": 45,
    "normals": 3,
    "normal_tensor": 6,
    "covariance": 6,
    "reference_color": 44,
}
Sampling = Literal["fps", "uniform", "uniform_with_replacement", "opacity_weighted"]
"""Which of the kept Gaussians are the points: farthest from each other, any, any again and again, likelier when opaque.

`opacity_weighted` takes no Gaussian twice; each next one is drawn with a probability proportional to its alpha.
"""
Background = Literal["white", "black"]


def _white(background: Background) -> bool:
    return background == "white"


class PointsContract(Config):
    """How a Gaussian cloud becomes the `[N, D]` input of a point encoder."""

    modality: Literal["points"] = "points"
    features: tuple[FeatureGroup, ...] = ("xyz",)
    num_points: int = Field(default=1024, ge=8)
    alpha_threshold: float = Field(default=0.3, ge=0.0, lt=1.0, description="keep Gaussians with alpha above this")
    sampling: Sampling = "fps"
    normalisation: Literal["unit_sphere"] = "unit_sphere"
    standardise_attributes: bool = Field(
        default=True, description="log-scales, opacity and SH brought to order one; quaternions to unit norm, w >= 0"
    )

    @property
    def columns(self) -> int:
        """D, the number of input columns."""
        return sum(FEATURE_WIDTH[group] for group in self.features)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """[N, D] of one object."""
        return (self.num_points, self.columns)

    def places(self) -> Iterator[tuple[FeatureGroup, int, int]]:
        """Each group with its first column and the one after its last."""
        start = 0
        for group in self.features:
            yield group, start, start + FEATURE_WIDTH[group]
            start += FEATURE_WIDTH[group]

    def example(self, batch: int) -> Tensor:
        """Points [batch, N, D] in the unit ball, the same every time."""
        x = torch.randn((batch, *self.input_shape), generator=torch.Generator().manual_seed(batch))
        x[..., :3] /= x[..., :3].norm(dim=-1, keepdim=True).amax(1, keepdim=True)
        return x

    def check(self, x: Tensor) -> None:
        """Shape and type of a batch; points may be more or fewer than `num_points`. Raises ConfigError."""
        if x.ndim != 3 or x.shape[2] != self.columns or x.shape[1] < 1 or not x.is_floating_point():
            raise ConfigError(
                f"this point encoder takes [B, N, {self.columns}] float with columns {', '.join(self.features)}, "
                f"{_given(x)}; sample the points with the encoder's contract"
            )

    def normaliser(self) -> nn.Module:
        """What a batch goes through before the backbone: nothing."""
        return nn.Identity()


class ImageContract(Config):
    """How an image becomes the `[3, H, W]` input of an image encoder.

    Mean and std are applied inside `forward`.
    """

    modality: Literal["image"] = "image"
    image_size: int = Field(default=64, ge=8)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    background: Background = Field(
        default="white",
        exclude_if=_white,  # contracts of before keep their digests
        description="what objects are seen before",
    )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """[3, S, S] of one image."""
        return (3, self.image_size, self.image_size)

    def example(self, batch: int) -> Tensor:
        """Pixels [batch, 3, S, S] in [0, 1], the same every time."""
        return torch.rand((batch, *self.input_shape), generator=torch.Generator().manual_seed(batch))

    def check(self, x: Tensor) -> None:
        """Shape and type of a batch. Raises ConfigError."""
        size = self.image_size
        if x.ndim != 4 or x.shape[1:] != (3, size, size) or not x.is_floating_point():
            raise ConfigError(
                f"this image encoder takes [B, 3, {size}, {size}] float in [0, 1], {_given(x)}; "
                f"resize to the encoder's contract (image_size={size}) and divide bytes by 255"
            )

    def normaliser(self) -> nn.Module:
        """What a batch goes through before the backbone: minus mean, over standard deviation."""
        return _ChannelNorm(self.mean, self.std)


EncoderContract = Annotated[PointsContract | ImageContract, Field(discriminator="modality")]


class _ChannelNorm(nn.Module):
    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        # buffers move with the module and are not weights: the contract holds them
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.get_buffer("mean")) / self.get_buffer("std")


def _given(x: Tensor) -> str:
    return f"got {list(x.shape)} of {str(x.dtype).removeprefix('torch.')}"
