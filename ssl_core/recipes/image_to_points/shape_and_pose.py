"""The two networks of a trial, with the weights that they begin at."""

from pathlib import Path
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.errors import ConfigError
from ssl_core.models.build import Encoder, seeded_weights
from ssl_core.models.bundle import WEIGHTS, load_bundle, read_card
from ssl_core.models.cards import Card, ImageEncoderCard
from ssl_core.models.reconstruction import Reconstructor, copies
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard
from ssl_core.models.weights_file import check_fits, file_sha256
from ssl_core.recipes.image_to_points.config import BundleStart, ImageToPointsConfig, RandomStart
from ssl_core.recipes.image_to_points.image_set import SharedCamera

_NOISE = 0.03
_FIRST_GAIN = 0.1
"""of an image on its cloud, beside random weights, where all clouds begin as one shape"""


class ShapeAndPose(nn.Module):
    """A reconstructor and a pose network. Raises ConfigError: weights to begin at are missing or of other networks.

    Args:
        camera: what the cards say of the pictures.
        seed: of the initial weights.
    """

    def __init__(self, config: ImageToPointsConfig, camera: SharedCamera, seed: int) -> None:
        super().__init__()
        sizes = config.networks
        shared = {
            "image_size": sizes.image_size,
            "width": sizes.width,
            "classes": config.data.classes,
            "distance": camera.distance,
            "focal": camera.focal,
        }
        self.reconstructor_card = ReconstructorCard(
            num_points=sizes.num_points,
            bottleneck=sizes.bottleneck,
            latent=sizes.latent,
            mirror=sizes.mirror,
            **shared,
        )
        self.pose_card = PoseEstimatorCard(representation=sizes.pose, **shared)
        self.reconstructor = self.reconstructor_card.build(seed)
        self.pose = self.pose_card.build(seed + 1)
        self.set_alignment(torch.eye(3) * camera.unit)
        match config.start:
            case RandomStart():
                _spread(self.reconstructor, sizes.spread, seed + 2)
            case BundleStart():
                self._begin_at(config.start)
            case _:
                assert_never(config.start)

    def shape(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, S, S] -> points [B, N, 3] in the networks' own frame and units, and their colours."""
        points, colours = self.reconstructor.network(images)
        return points, colours

    def begin_at(self, template: Tensor, seed: int) -> None:
        """Every image's cloud is nearly the template [M, 3] at first, whose points are repeated with some noise."""
        layer, generator = self.reconstructor.network.points, torch.Generator().manual_seed(seed)
        count = len(layer.bias) // 3
        part = template[: len(template) // copies(self.reconstructor.network.mirror)]
        repeated = part[torch.arange(count) % len(part)]
        noise = _NOISE * torch.randn(count, 3, generator=generator)
        noise[: len(part)] = 0
        with torch.no_grad():
            layer.bias.copy_((repeated + noise).flatten())
            layer.weight.mul_(_FIRST_GAIN)

    def set_alignment(self, alignment: Tensor) -> None:
        """From the networks' frame and units to the pack's."""
        self.reconstructor.get_buffer("alignment").copy_(alignment)

    def outputs(self) -> dict[str, tuple[nn.Module, Card]]:
        """What is exported. The image encoder is part of the reconstructor."""
        card = self.reconstructor_card
        image = ImageEncoderCard(contract=card.contract, backbone=card.backbone)
        encoder = Encoder(image.contract, self.reconstructor.network.features, image.backbone.feature_dim)
        return {
            "reconstructor": (self.reconstructor, card),
            "image": (encoder, image),
            "pose": (self.pose, self.pose_card),
        }

    def _begin_at(self, start: BundleStart) -> None:
        if bool(start.pose_folder) != bool(start.pose_sha256):
            raise ConfigError("start.pose_folder and start.pose_sha256 go together; give both or neither")
        given: list[tuple[str, str, str, nn.Module]] = [
            ("start.folder", start.folder, start.sha256, self.reconstructor)
        ]
        if start.pose_folder:
            given.append(("start.pose_folder", start.pose_folder, start.pose_sha256, self.pose))
        for key, folder, sha256, module in given:
            state, wanted = opened(key, folder, sha256).state_dict(), module.state_dict()
            check_fits(state, wanted, f"{key} {folder}: other networks", "set networks.* as its card says")
            module.load_state_dict(state)


def opened(key: str, folder: str, sha256: str) -> nn.Module:
    """A bundle's model. Raises ConfigError: its weights are other ones, or it is of another kind than `key` asks for;
    RegistryError, IntegrityError: it is none, or was changed."""
    wanted = "pose_estimator" if key.endswith("pose_folder") else "reconstructor"
    kind = read_card(Path(folder)).card.kind
    if kind != wanted:
        raise ConfigError(f"{key} {folder} holds a {kind}; name a {wanted}")
    model = load_bundle(Path(folder))
    if file_sha256(Path(folder) / WEIGHTS) != sha256:
        raise ConfigError(f"{key} {folder}: {WEIGHTS} is not the file that its sha256 names; give the other one")
    return model


def _spread(reconstructor: Reconstructor, radius: float, seed: int) -> None:
    """Points begin anywhere in a ball: those that begin in the middle stay there, since no outline asks for them."""
    if radius > 0:
        bias = reconstructor.network.points.bias
        with torch.no_grad(), seeded_weights(seed):
            points = F.normalize(torch.randn(len(bias) // 3, 3), dim=1)
            bias.copy_((radius * torch.rand(len(points), 1) ** (1 / 3) * points).flatten())
