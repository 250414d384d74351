"""Networks that read one image of an object: its coloured point cloud, and from where it is seen.

Navaneet, Mathew, Kashyap, Hung, Jampani, Babu: From Image Collections to Point Clouds with Self-supervised Shape and
Pose Networks, CVPR 2020, arXiv 2005.01939; layers as in the released code (`net_archs.py`). At image side 64, 1,024
points, bottleneck 128 and width 1 the numbers of weights are the released ones: 4,445,312 and 1,470,402.

TensorFlow pads strided convolutions on the right and below, here both sides are padded alike.

Images are RGB in [0, 1] over black, as everything that is drawn from a predicted cloud.
"""

import math
from itertools import pairwise
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.errors import ConfigError

PoseRepresentation = Literal["angles_tanh", "sincos", "quaternion"]
"""What a pose network's last layer means.

`angles_tanh`: azimuth and elevation are pi tanh of one number each, both in (-pi, pi), as released: two angles that are
one are far apart, and a camera may stand on its head. `sincos`: sine and cosine of each, of any common length;
elevations in (-pi/2, pi/2). `quaternion`: wxyz of the rotation whose x axis points from the object to the camera; its
roll counts for nothing.
"""
Latent = Literal["relu", "linear"]
"""What follows the bottleneck: as released, or nothing. Of few rectified numbers all may be 0 for every image, which no
gradient mends: one cloud for all images."""
Mirror = Literal["none", "x", "y", "xy"]
"""The coordinate that the plane of symmetry turns round, if clouds have one; `xy`: both planes, as tables have."""
_SIGNS: dict[Mirror, tuple[tuple[float, float, float], ...]] = {
    "none": (),
    "x": ((-1.0, 1.0, 1.0),),
    "y": ((1.0, -1.0, 1.0),),
    "xy": ((-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (-1.0, -1.0, 1.0)),
}
_NUMBERS: dict[PoseRepresentation, int] = {"angles_tanh": 2, "sincos": 4, "quaternion": 4}
_TRUNK = ((32, 3), (64, 3), (128, 3), (256, 5))  # channels, kernel
_HIDDEN = 128
SMALLEST, LARGEST = 16, 128
"""Side of the images in pixels."""


class ReconCnnConfig(Config):
    """The part of the shape network that describes an image: its latent beside the description of its colours."""

    kind: Literal["recon_cnn"] = "recon_cnn"
    bottleneck: int = Field(default=128, ge=8, le=1024, description="width of the latent")
    width: float = Field(default=1.0, ge=0.05, le=2.0, description="factor on channels and on the other layers' widths")
    latent: Latent = "relu"

    @property
    def feature_dim(self) -> int:
        """Latent and colours side by side."""
        return self.bottleneck + scaled(_HIDDEN, self.width)


def scaled(channels: int, width: float) -> int:
    """Channels under the factor `width`, at least 4."""
    return max(4, round(channels * width))


class ImageFeatures(nn.Module):
    """Images [B, 3, S, S] -> [B, bottleneck + hidden], latent first: neighbours are searched among these.

    Raises ConfigError: the images are too small for four halvings, or too large for a layer over all their pixels.
    """

    def __init__(self, image_size: int, config: ReconCnnConfig) -> None:
        super().__init__()
        if not SMALLEST <= image_size <= LARGEST:
            raise ConfigError(f"image_size {image_size}: recon_cnn reads images of {SMALLEST} to {LARGEST} pixels")
        hidden = scaled(_HIDDEN, config.width)
        self.image_size, self.bottleneck, self.rectified = image_size, config.bottleneck, config.latent == "relu"
        self.trunk, flat = _convolutions(image_size, config.width, len(_TRUNK))
        self.latent = nn.Linear(flat, config.bottleneck)
        self.colour_trunk, flat = _convolutions(image_size, config.width, 2)
        self.colour = _fully_connected(flat, hidden, hidden, hidden)

    def forward(self, images: Tensor) -> Tensor:
        latent = self.latent(self.trunk(images))
        latent = F.relu(latent) if self.rectified else latent
        return torch.cat((latent, self.colour(self.colour_trunk(images))), dim=1)


class ShapeNetwork(nn.Module):
    """One image [B, 3, S, S] -> points [B, N, 3], unbounded, and their colours [B, N, 3] in [0, 1].

    With a `mirror` the first half or quarter of the points gives the others, its mirror images. Raises ConfigError: N
    is no whole number of them.
    """

    def __init__(self, image_size: int, num_points: int, config: ReconCnnConfig, mirror: Mirror = "none") -> None:
        super().__init__()
        self.mirror: Mirror = mirror
        if num_points % copies(mirror):
            raise ConfigError(
                f"{num_points} points are no {copies(mirror)} equal parts; take a multiple of it, or mirror none"
            )
        num_points //= copies(mirror)
        hidden = scaled(_HIDDEN, config.width)
        self.features = ImageFeatures(image_size, config)
        self.shape = _fully_connected(config.bottleneck, hidden, hidden)
        self.points = nn.Linear(hidden, 3 * num_points)
        self.mixed = _fully_connected(2 * hidden, hidden)
        self.colours = nn.Linear(hidden, 3 * num_points)

    def embedding(self, images: Tensor) -> Tensor:
        """[B, bottleneck + hidden]: images that look alike lie near each other."""
        found: Tensor = self.features(images)
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.decoded(self.embedding(images))

    def decoded(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """The cloud that an embedding stands for."""
        latent, colour = embedding.tensor_split((self.features.bottleneck,), dim=1)
        shape = self.shape(latent)
        rgb = torch.sigmoid(self.colours(self.mixed(torch.cat((colour, shape), dim=1))))
        points, rgb = self.points(shape).unflatten(1, (-1, 3)), rgb.unflatten(1, (-1, 3))
        return symmetric(points, self.mirror), rgb.repeat(1, copies(self.mirror), 1)


def copies(mirror: Mirror) -> int:
    """How many equal parts a symmetric cloud has: 1, 2 or 4."""
    return 1 + len(_SIGNS[mirror])


def symmetric(points: Tensor, mirror: Mirror) -> Tensor:
    """Points [..., N, 3] of one part, and its mirror images after it: [..., copies N, 3]."""
    return torch.cat((points, *(points * points.new_tensor(signs) for signs in _SIGNS[mirror])), dim=-2)


def different_azimuths(mirror: Mirror) -> float:
    """To each side, in radians, beyond which a symmetric object looks as before: tables are the same from behind."""
    return math.pi / 2 if mirror == "xy" else math.pi


def mirrored_azimuth(azimuth: Tensor, mirror: Mirror) -> Tensor:
    """Of the camera on the other side of the plane, which sees a symmetric object as in a mirror."""
    return math.pi - azimuth if mirror == "x" else -azimuth


class PoseNetwork(nn.Module):
    """One image [B, 3, S, S] -> azimuth and elevation [B, 2] of its camera, in radians."""

    def __init__(self, image_size: int, width: float, representation: PoseRepresentation) -> None:
        super().__init__()
        hidden = scaled(_HIDDEN, width)
        self.representation: PoseRepresentation = representation
        self.trunk, flat = _convolutions(image_size, width, len(_TRUNK))
        self.hidden = _fully_connected(flat, hidden, hidden, hidden)
        self.last = nn.Linear(hidden, _NUMBERS[representation])

    def raw(self, images: Tensor) -> Tensor:
        """[B, 2 or 4] the last layer's numbers, whose meaning is the representation's."""
        numbers: Tensor = self.last(self.hidden(self.trunk(images)))
        return numbers

    def forward(self, images: Tensor) -> Tensor:
        return pose_angles(self.raw(images), self.representation)


def pose_angles(raw: Tensor, representation: PoseRepresentation) -> Tensor:
    """[B, 2] azimuth and elevation in radians, of what a pose network's last layer says [B, 2 or 4]."""
    match representation:
        case "angles_tanh":
            return math.pi * torch.tanh(raw)
        case "sincos":
            sine, cosine, rise, run = raw.unbind(1)
            return torch.stack((torch.atan2(sine, cosine), torch.atan2(rise, F.softplus(run))), dim=1)
        case "quaternion":
            w, x, y, z = raw.unbind(1)
            # the rotated x axis, times the squared norm
            forward, left, up = w * w + x * x - y * y - z * z, 2 * (x * y + w * z), 2 * (x * z - w * y)
            # a root has no slope at 0, where the camera stands above the object
            flat = (forward * forward + left * left + 1e-12).sqrt()
            return torch.stack((torch.atan2(left, forward), torch.atan2(up, flat)), dim=1)
        case _:
            assert_never(representation)


class Reconstructor(nn.Module):
    """One image [B, 3, S, S] -> coloured cloud [B, N, 6] (xyz, rgb) in the canonical frame.

    A cloud that was learnt from images alone lies in any frame. `alignment` [3, 3], a rotation that was fitted on
    validation objects times the scale of the training camera, takes it into that of the data: x' = alignment x.
    """

    def __init__(self, network: ShapeNetwork, alignment: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("alignment", torch.eye(3) if alignment is None else alignment.detach().float().clone())

    def forward(self, images: Tensor) -> Tensor:
        points, colours = self.network(images)
        return torch.cat((F.linear(points, self.get_buffer("alignment")), colours), dim=2)


def _convolutions(image_size: int, width: float, count: int) -> tuple[nn.Sequential, int]:
    """The first `count` convolutions of stride 2, flattened, and the width of what comes out."""
    layers: list[nn.Module] = []
    before, side = 3, image_size
    for channels, kernel in _TRUNK[:count]:
        after = scaled(channels, width)
        layers += [nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2), nn.ReLU()]
        before, side = after, -(-side // 2)
    return nn.Sequential(*layers, nn.Flatten()), before * side * side


def _fully_connected(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)
