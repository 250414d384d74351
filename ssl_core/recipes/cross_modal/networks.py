"""The networks of a cross-modal trial: two encoders, the fusion network, and heads where they are asked for."""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn

from ssl_core.errors import ConfigError
from ssl_core.evaluation.extract import Features
from ssl_core.models.build import Encoder, FusionNetwork, build_image_encoder, build_point_encoder, seeded_weights
from ssl_core.models.cards import ImageEncoderCard, PointEncoderCard
from ssl_core.models.pointnet import PointNet, transform_regulariser
from ssl_core.models.readout import HiddenLayer, Part, ReadOut, ReadoutConfig, head_layers
from ssl_core.models.teachers import build_teacher, teacher_card
from ssl_core.recipes.cross_modal.config import (
    CrossModalConfig,
    FrozenWeights,
    MlpHeads,
    NoHeads,
    RandomWeights,
    TrainableWeights,
)

PARTS: tuple[Part, ...] = ("backbone", "hidden", "head")


class Head(nn.Module):
    """[B, columns] of a backbone -> [B, output], through `hidden`."""

    def __init__(self, columns: int, readout: ReadoutConfig) -> None:
        super().__init__()
        self.columns, self.readout = columns, readout
        self.hidden: HiddenLayer
        self.hidden, self.output = head_layers(columns, readout)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.output(self.hidden(features))
        return out


@dataclass(frozen=True)
class Branch:
    """An encoder with the card of its backbone, and the head over it."""

    encoder: Encoder
    card: PointEncoderCard | ImageEncoderCard
    head: Head | None

    def exported(self) -> tuple[Encoder, PointEncoderCard | ImageEncoderCard]:
        """What a trial leaves behind: the encoder, or the parts of it that are read out."""
        if self.head is None:
            return self.encoder, self.card
        card = self.card.model_copy(update={"readout": self.head.readout})
        return self._reading(self.head, self.head.readout.parts), card

    def whole(self) -> Encoder:
        """The encoder whose features are all parts side by side; see `split`."""
        return self.encoder if self.head is None else self._reading(self.head, PARTS)

    def split(self, features: Features) -> dict[str, Features]:
        """Features of `whole`, [rows, F] -> those that are exported, under "", and each part where there are several."""
        if self.head is None:
            return {"": features}
        first, second = self.head.columns, self.head.columns + self.head.readout.hidden
        parts = {"backbone": features[:, :first], "hidden": features[:, first:second], "head": features[:, second:]}
        exported = torch.cat([torch.from_numpy(parts[part]) for part in self.head.readout.parts], dim=1).numpy()
        return {"": exported, **{f"_{name}": part for name, part in parts.items()}}

    def _reading(self, head: Head, parts: tuple[Part, ...]) -> Encoder:
        read = ReadOut(self.encoder.backbone, head.hidden, head.output, parts)
        width = head.readout.model_copy(update={"parts": parts}).width(head.columns)
        return Encoder(self.encoder.contract, read, width)


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
        self.points_head, self.image_head = _heads(config, (self.points.feature_dim, image.feature_dim), seed + 3)
        card = PointEncoderCard(contract=config.points, backbone=config.point_backbone)
        self.branches = {  # a plain dictionary, in which torch looks for no modules
            "points": Branch(self.points, card, self.points_head),
            "image": Branch(image, image_card, self.image_head),
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

    def compared(self, name: str, features: Tensor) -> Tensor:
        """What agreement is asked of: a branch's features [..., B, F] through its head, where it has one."""
        head = self.branches[name].head
        return features if head is None else head(features.flatten(0, -2)).reshape(*features.shape[:-1], -1)

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


def _heads(config: CrossModalConfig, columns: tuple[int, int], seed: int) -> tuple[Head | None, Head | None]:
    """Over backbones of so many features, of points and of images."""
    heads = config.heads
    match heads:
        case NoHeads():
            return None, None
        case MlpHeads():
            points = ReadoutConfig(hidden=heads.hidden, output=heads.output, parts=heads.points)
            image = points.model_copy(update={"parts": heads.image})
            with seeded_weights(seed):
                return Head(columns[0], points), Head(columns[1], image)
        case _:
            assert_never(heads)


def _by_view(rows: Tensor, views: int) -> Tensor:
    """[views * B, F] -> [views, B, F]."""
    return rows.reshape(views, -1, rows.shape[-1])
