"""Do two views show one object (triplet), does a view belong to a splat (matching)? One trial of it, on one device.

A batch holds `points` [B, N, D] and `images` [3, B, 3, S, S]: two views of the object, one view of another. Everything
random follows from (seed, epoch). The test split is never read here.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_core.data.augment import color_distortion, random_resized_crop, whole_images
from ssl_core.data.batches import Indices, batches_of, draw_views
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import image_features, point_features
from ssl_core.evaluation.few_shot import FewShotProbe
from ssl_core.losses.cross_modal import (
    CONSTANT_ACCURACY,
    matching_accuracy,
    matching_cross_entropy,
    pair_distance,
    triplet,
)
from ssl_core.models.build import FusionNetwork, build_image_encoder, build_point_encoder, seeded_weights
from ssl_core.models.cards import Card, ImageEncoderCard, PointEncoderCard
from ssl_core.models.modes import evaluating
from ssl_core.models.pointnet import PointNet, transform_regulariser
from ssl_core.recipes.cross_modal.config import CrossModalConfig
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched

MATCHES = (1, 1, 0)
"""Class of the pairs (view 1, points), (view 2, points), (view of another object, points)."""


def check(config: CrossModalConfig, pack: ObjectPack) -> None:
    """Raises InfeasibleError when the pack cannot serve the config."""
    check_contract(pack, config.points)
    fit = pack.objects("fit")
    if len(fit) < 2:
        raise InfeasibleError(f"the pack has {len(fit)} training object(s) besides validation; at least 2 are needed")
    if len(pack.objects("val")) == 0:
        raise InfeasibleError("the pack has no validation object; give each class at least 2 training objects")
    if len(np.unique(pack.labels[fit])) < 2:
        raise InfeasibleError("training and probes need objects of at least 2 classes")
    if int(pack.num_views[pack.objects("train")].min()) < 1:
        raise InfeasibleError("an object of the pack has no view, and this recipe learns from views; pack images too")


class CrossModalModels(nn.Module):
    """Point encoder, image encoder and fusion network."""

    def __init__(self, config: CrossModalConfig, seed: int) -> None:
        super().__init__()
        self.points = build_point_encoder(config.points, config.point_backbone, seed=seed)
        self.image = build_image_encoder(config.image, config.image_backbone, seed=seed + 1)
        with seeded_weights(seed + 2):
            self.fusion = FusionNetwork(self.image.feature_dim, self.points.feature_dim, config.fusion_hidden)

    def image_features(self, images: Tensor) -> Tensor:
        """[3, B, 3, S, S] -> [3, B, F], one pass: batch statistics are those of all three views."""
        features: Tensor = self.image(images.flatten(0, 1))
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


class CrossModalTrial:
    """One trial on one device. Raises InfeasibleError when the pack cannot serve the config."""

    def __init__(self, config: CrossModalConfig, pack: ObjectPack, seed: int, device: torch.device) -> None:
        check(config, pack)
        self.config, self.pack, self.seed, self.device = config, pack, seed, device
        self.fit, self.val = pack.objects("fit"), pack.objects("val")
        self.probe = FewShotProbe(pack, config.validation)
        self.sampler = PointSampler(pack, config.points, np.concatenate([self.fit, self.val]))
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.steps_per_epoch = len(self.fit) // self.batch_size  # a last short batch would skew batch norm
        self.networks = CrossModalModels(config, seed)
        self.module: nn.Module = self.networks

    # ---- training

    def batches(self, epoch: int) -> Iterator[Batch]:
        """What comes out of the pack travels to the device as it is stored, ahead of its turn; crops are made there."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for batch in prefetched(self._gathered(rng), self.device):
            yield {"points": batch["points"], "images": self._augmented(batch["views"], generator)}

    def samples(self, batch: Batch) -> int:
        """Objects."""
        return len(batch["points"])

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Triplet + beta * cross-entropy + transform_weight * regulariser."""
        settings, networks = self.config.loss, self.networks
        views = networks.image_features(batch["images"])
        if settings.transform_weight > 0:
            points, regulariser = networks.point_features_and_regulariser(batch["points"])
        else:
            points, regulariser = networks.points(batch["points"]), None
        compared = functional.normalize(views, dim=-1) if settings.normalise_features else views
        logits = networks.matching_logits(views, points)
        terms = {
            "triplet": triplet(compared[0], compared[1], compared[2], settings.margin),
            "cross_entropy": matching_cross_entropy(logits, torch.tensor(MATCHES)),
        }
        total = terms["triplet"] + settings.beta * terms["cross_entropy"]
        if regulariser is not None:
            terms["transform"] = regulariser
            total = total + settings.transform_weight * regulariser
        return {"all": LossTerms(total, terms)}

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """One group."""
        return {"all": (ParameterGroup(tuple(self.networks.parameters())),)}

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """Both branches."""
        config = self.config
        return {
            "points": (self.networks.points, PointEncoderCard(contract=config.points, backbone=config.point_backbone)),
            "image": (self.networks.image, ImageEncoderCard(contract=config.image, backbone=config.image_backbone)),
        }

    def _gathered(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches as stored, on the CPU: `points` [B, N, D] float, `views` [3 * B, 3, H, W] uint8; one copy each."""
        for objects in batches_of(self.fit, self.batch_size, rng):
            views, _ = draw_views(self.pack, objects, self.fit, self.config.negatives, rng)
            yield {
                "points": torch.from_numpy(self.sampler.sample(objects, rng)),
                "views": torch.from_numpy(self.pack.views[views.reshape(-1)]),
            }

    def _augmented(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """[3 * B, 3, H, W] uint8 -> [3, B, 3, S, S] float in [0, 1]."""
        augment, size = self.config.augment, self.config.image.image_size
        images = random_resized_crop(views, size, augment.crop_min_scale, generator, flip=augment.flip)
        images = color_distortion(images, augment.color, generator)
        return images.reshape(3, -1, *images.shape[1:])

    # ---- validation

    def validate(self) -> dict[str, float]:
        """Matching and probes on the validation objects; accuracies in [0, 1]."""
        with evaluating(self.networks):
            return {**self._matching(), **self._probes()}

    def _matching(self) -> dict[str, float]:
        """Matching accuracy, what a constant predictor and a perfect class matcher would reach, and pair distances."""
        networks = self.networks
        accuracies, positives, negatives, same_class = [], [], [], []
        for repeat in range(self.config.validation.matching_repeats):
            batch, same = self._validation_batch(self.val, repeat)
            views = networks.image_features(batch["images"])
            logits = networks.matching_logits(views, networks.points(batch["points"]))
            accuracies.append(float(matching_accuracy(logits, torch.tensor(MATCHES))))
            positives.append(float(pair_distance(views[0], views[1]).mean()))
            negatives.append(float(pair_distance(views[0], views[2]).mean()))
            same_class.append(same)
        positive, negative = float(np.mean(positives)), float(np.mean(negatives))
        return {
            "val/matching_accuracy": float(np.mean(accuracies)),
            "val/matching_constant": CONSTANT_ACCURACY,
            "val/matching_class_oracle": 1.0 - float(np.mean(same_class)) / 3.0,
            "val/distance_positive": positive,
            "val/distance_negative": negative,
            "val/distance_ratio": negative / max(positive, 1e-12),
        }

    def _probes(self) -> dict[str, float]:
        """Few-shot linear-SVM accuracy of both branches: mean over label draws (points: and point draws), with its
        error. `val/probe` is the mean of the two; label draws are the same for every trial and epoch of a study.
        """
        settings, networks, probe = self.config.validation, self.networks, self.probe
        draws = range(settings.point_draws)
        points = [point_features(networks.points, self.sampler, probe.objects, draw) for draw in draws]
        size = self.config.image.image_size
        views = image_features(networks.image, self.pack, probe.objects, size, views=settings.views).max(axis=1)
        metrics = probe.metrics({"points": points, "image": [views]})
        metrics["val/probe"] = 0.5 * (metrics["val/points_probe"] + metrics["val/image_probe"])
        return metrics

    def _validation_batch(self, objects: Indices, repeat: int) -> tuple[Batch, float]:
        """An uncropped batch drawn the same way for every trial, and its share of same-class negatives."""
        views, negatives = draw_views(
            self.pack, objects, self.val, self.config.negatives, np.random.default_rng([2, repeat])
        )
        flat = torch.from_numpy(self.pack.views[views.reshape(-1)]).to(self.device)
        images = whole_images(flat, self.config.image.image_size)
        batch = {
            "points": torch.from_numpy(self.sampler.draw(objects, repeat)).to(self.device),
            "images": images.reshape(*views.shape, *images.shape[1:]),
        }
        labels = self.pack.labels
        return batch, float(np.mean(labels[objects] == labels[negatives]))


def _by_view(rows: Tensor, views: int) -> Tensor:
    """[views * B, F] -> [views, B, F]."""
    return rows.reshape(views, -1, rows.shape[-1])
