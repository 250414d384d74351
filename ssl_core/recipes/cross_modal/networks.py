"""The networks of a cross-modal trial: two encoders, the fusion network, and heads where they are asked for."""

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.errors import ConfigError
from ssl_core.evaluation.extract import Features
from ssl_core.models.build import Encoder, FusionNetwork, build_image_encoder, build_point_encoder, seeded_weights
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import device_of
from ssl_core.models.pointnet import PointNet, transform_regulariser
from ssl_core.models.readout import Head, Part, ReadOut, ReadoutConfig
from ssl_core.models.teachers import build_teacher, teacher_card
from ssl_core.recipes.cross_modal.config import (
    CrossModalConfig,
    FrozenWeights,
    Heads,
    MlpHeads,
    NoHeads,
    RandomWeights,
    TrainableWeights,
)

PARTS: tuple[Part, ...] = ("backbone", "hidden", "head")


@dataclass(frozen=True)
class Branch:
    """An encoder with its card, and the head over it with what is read out."""

    encoder: Encoder
    card: PointEncoderCard | ImageEncoderCard
    head: Head | None
    readout: ReadoutConfig | None

    def exported(self) -> tuple[Encoder, PointEncoderCard | ImageEncoderCard]:
        """What a trial leaves behind: the encoder, or the parts of it that are read out."""
        if self.readout is None:
            return self.encoder, self.card
        return self._reading(self.readout), self.card.model_copy(update={"readout": self.readout})

    def whole(self) -> Encoder:
        """The encoder whose features are all parts side by side; see `split`."""
        return self.encoder if self.readout is None else self._reading(self.readout.model_copy(update={"parts": PARTS}))

    def split(self, features: Features) -> dict[str, Features]:
        """Features of `whole`, [rows, F] -> those that are exported, under "", and each part where there is a head."""
        if self.readout is None:
            return {"": features}
        first = self.encoder.feature_dim
        columns = np.split(features, (first, first + self.readout.hidden), axis=1)
        parts = dict(zip(PARTS, columns, strict=True))
        exported = np.concatenate([parts[part] for part in self.readout.parts], axis=1)
        return {"": exported, **{f"_{name}": part for name, part in parts.items()}}

    def compared(self, features: Tensor) -> Tensor:
        """What agreement is asked of: the encoder's features [..., B, F] through the head, where there is one."""
        if self.head is None:
            return features
        found: Tensor = self.head(features.flatten(0, -2))["head"].unflatten(0, features.shape[:-1])
        return found

    def _reading(self, readout: ReadoutConfig) -> Encoder:
        assert self.head is not None
        read = ReadOut(self.encoder.backbone, self.head, readout.parts)
        encoder = Encoder(self.encoder.contract, read, readout.width(self.encoder.feature_dim))
        return encoder.to(device_of(self.encoder))


class CrossModalModels(nn.Module):
    """Point encoder, image encoder and fusion network; heads over both encoders where they are asked for.

    A frozen image encoder is no part of this module: it is neither put into training mode nor kept in checkpoints.

    Raises ConfigError: the image weights cannot be read, or are of an encoder that has a head of its own.
    """

    def __init__(self, config: CrossModalConfig, seed: int) -> None:
        super().__init__()
        self.points = build_point_encoder(config.points, config.point_backbone, seed=seed)
        image, image_card = _image_encoder(config, seed + 1)
        self.frozen = isinstance(config.image_weights, FrozenWeights)
        if not self.frozen:
            self.image = image
        with seeded_weights(seed + 2):
            self.fusion = FusionNetwork(image.feature_dim, self.points.feature_dim, config.fusion_hidden)
        points_read, image_read = _readouts(config.heads)
        with seeded_weights(seed + 3):
            self.points_head = None if points_read is None else Head(self.points.feature_dim, points_read)
            self.image_head = None if image_read is None else Head(image.feature_dim, image_read)
        card = PointEncoderCard(contract=config.points, backbone=config.point_backbone)
        self.branches = {  # a plain dictionary, in which torch looks for no modules
            "points": Branch(self.points, card, self.points_head, points_read),
            "image": Branch(image, image_card, self.image_head, image_read),
        }

    @property
    def image_size(self) -> int:
        """Side of the images that the image encoder takes, in pixels."""
        return int(self.branches["image"].card.input_shape[-1])

    def image_features(self, images: Tensor) -> Tensor:
        """[3, B, 3, S, S] -> [3, B, F], one pass: batch statistics are those of all three views."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features: Tensor = self.branches["image"].encoder(images.flatten(0, 1))
        return _by_view(features, len(images))

    def matching_logits(self, image_features: Tensor, point_features: Tensor) -> Tensor:
        """[3, B, Fi], [B, Fp] -> [3, B, 2]."""
        repeated = point_features.expand(len(image_features), *point_features.shape)
        logits: Tensor = self.fusion(image_features.flatten(0, 1), repeated.flatten(0, 1))
        return _by_view(logits, len(image_features))

    def point_features_and_regulariser(self, points: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, N, D] -> [B, F] and the T-Net regulariser of a backbone that has one."""
        backbone = self.points.backbone
        if isinstance(backbone, PointNet):
            features, transform = backbone.features_and_transform(points)
            return features, None if transform is None else transform_regulariser(transform)
        return self.points(points), None


def _image_encoder(config: CrossModalConfig, seed: int) -> tuple[Encoder, ImageEncoderCard]:
    weights = config.image_weights
    match weights:
        case RandomWeights():
            card = ImageEncoderCard(contract=config.image, backbone=config.image_backbone)
            return build_image_encoder(config.image, config.image_backbone, seed=seed), card
        case TrainableWeights() | FrozenWeights():
            card = teacher_card(weights.network)
            if card.readout is not None and isinstance(config.heads, MlpHeads):
                raise ConfigError("image_weights.network has a head of its own; set heads.kind=none, or name another")
            return build_teacher(weights.network).requires_grad_(isinstance(weights, TrainableWeights)), card
        case _:
            assert_never(weights)


def _readouts(heads: Heads) -> tuple[ReadoutConfig | None, ReadoutConfig | None]:
    """Of points and of images."""
    match heads:
        case NoHeads():
            return None, None
        case MlpHeads():
            points, image = (
                ReadoutConfig(hidden=heads.hidden, output=heads.output, parts=parts)
                for parts in (heads.points, heads.image)
            )
            return points, image
        case _:
            assert_never(heads)


def _by_view(rows: Tensor, views: int) -> Tensor:
    """[views * B, F] -> [views, B, F]."""
    return rows.reshape(views, -1, rows.shape[-1])
