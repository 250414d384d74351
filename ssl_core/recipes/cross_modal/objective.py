"""Models and loss: do two views show one object (triplet), does a view belong to a splat (matching)?"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_core.losses.cross_modal import matching_cross_entropy, triplet
from ssl_core.models.build import build_image_encoder, build_point_encoder
from ssl_core.models.heads import FusionNetwork
from ssl_core.models.pointnet import PointNet, transform_regulariser
from ssl_core.recipe import Batch, LossTerms, Modality, TrainedEncoder
from ssl_core.recipes.cross_modal.config import CrossModalConfig

MATCHES = (1, 1, 0)
"""Class of the pairs (view 1, points), (view 2, points), (view of another object, points)."""


def _by_view(rows: Tensor, views: int) -> Tensor:
    """[views * B, F] -> [views, B, F]."""
    return rows.reshape(views, -1, rows.shape[-1])


class CrossModalObjective(nn.Module):
    """Point encoder, image encoder and fusion network of one trial.

    A batch holds `points` [B, N, D] and `images` [3, B, 3, S, S]: two views of the object, one view of another.
    """

    def __init__(self, config: CrossModalConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.points = build_point_encoder(config.points, config.point_backbone, seed=seed)
        self.image = build_image_encoder(config.image, config.image_backbone, seed=seed + 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 2)
            self.fusion = FusionNetwork(self.image.feature_dim, self.points.feature_dim, config.fusion_hidden)

    def module(self) -> nn.Module:
        """Itself."""
        return self

    def image_features(self, images: Tensor) -> Tensor:
        """[3, B, 3, S, S] -> [3, B, F], one pass: batch statistics are those of all three views."""
        features: Tensor = self.image(images.flatten(0, 1))
        return _by_view(features, len(images))

    def matching_logits(self, image_features: Tensor, point_features: Tensor) -> Tensor:
        """[3, B, Fi], [B, Fp] -> [3, B, 2]."""
        repeated = point_features.expand(len(image_features), *point_features.shape)
        logits: Tensor = self.fusion(image_features.flatten(0, 1), repeated.flatten(0, 1))
        return _by_view(logits, len(image_features))

    def loss(self, batch: Batch) -> LossTerms:
        """Triplet + beta * cross-entropy + transform_weight * regulariser."""
        settings = self.config.loss
        views = self.image_features(batch["images"])
        points, regulariser = self._point_features(batch["points"])
        compared = functional.normalize(views, dim=-1) if settings.normalise_features else views
        terms = {
            "triplet": triplet(compared[0], compared[1], compared[2], settings.margin),
            "cross_entropy": matching_cross_entropy(self.matching_logits(views, points), torch.tensor(MATCHES)),
        }
        total = terms["triplet"] + settings.beta * terms["cross_entropy"]
        if regulariser is not None:
            terms["transform"] = regulariser
            total = total + settings.transform_weight * regulariser
        return LossTerms(total=total, terms=terms)

    def _point_features(self, points: Tensor) -> tuple[Tensor, Tensor | None]:
        backbone = self.points.backbone
        if self.config.loss.transform_weight > 0 and isinstance(backbone, PointNet):
            features, transform = backbone.features_and_transform(points)
            return features, None if transform is None else transform_regulariser(transform)
        return self.points(points), None

    def encoders(self) -> Mapping[Modality, TrainedEncoder]:
        """Both branches."""
        return {
            "points": TrainedEncoder(self.points, self.config.point_backbone),
            "image": TrainedEncoder(self.image, self.config.image_backbone),
        }
