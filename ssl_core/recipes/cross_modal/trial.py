"""Do two views show one object (triplet), does a view belong to a splat (matching)? One trial of it, on one device.

A batch holds `points` [B, N, D] and `images` [3, B, 3, S, S]: two views of the object, one view of another; where two
samplings are to agree, a second one, `again`. Everything random follows from (seed, epoch). The test split is never
read here.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_core.data.augment import color_distortion, random_resized_crop, whole_images
from ssl_core.data.batches import Indices, batches_of, draw_views
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_augment import UNCHANGED, augment_points
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import Features, image_features, point_features
from ssl_core.evaluation.few_shot import FewShotProbe
from ssl_core.losses.contrast import nt_xent
from ssl_core.losses.cross_modal import (
    CONSTANT_ACCURACY,
    matching_accuracy,
    matching_cross_entropy,
    pair_distance,
    triplet,
)
from ssl_core.models.cards import Card
from ssl_core.models.modes import evaluating
from ssl_core.recipes.cross_modal.config import CrossModalConfig, TrainableWeights
from ssl_core.recipes.cross_modal.networks import CrossModalModels
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
        for branch in self.networks.branches.values():  # a frozen one, which the module does not hold, too
            branch.encoder.to(device)
        self._models = {name: branch.exported() for name, branch in self.networks.branches.items()}

    # ---- training

    def batches(self, epoch: int) -> Iterator[Batch]:
        """What comes out of the pack travels to the device as it is stored, ahead of its turn; crops are made there."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        own = torch.Generator().manual_seed(int(np.random.default_rng([self.seed, 3, epoch]).integers(2**62)))
        for batch in prefetched(self._gathered(rng), self.device):
            points = {name: self._augmented_points(batch[name], own) for name in ("points", "again") if name in batch}
            yield {**points, "images": self._augmented(batch["views"], generator)}

    def samples(self, batch: Batch) -> int:
        """Objects."""
        return len(batch["points"])

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Triplet + beta * cross-entropy + transform_weight * regulariser + the terms of agreement."""
        settings, networks = self.config.loss, self.networks
        views = networks.image_features(batch["images"])
        sampled = torch.cat([batch["points"], batch["again"]]) if "again" in batch else batch["points"]
        if settings.transform_weight > 0:
            features, regulariser = networks.point_features_and_regulariser(sampled)
        else:
            features, regulariser = networks.points(sampled), None
        points = features[: len(batch["points"])]
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
        for name, (weight, agreement) in self._agreement(views[:2], features).items():
            terms[name] = agreement
            total = total + weight * agreement
        return {"all": LossTerms(total, terms)}

    def _agreement(self, views: Tensor, features: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and NT-Xent of each term that is asked for.

        views: [2, B, F] features of two views of each object; features: [B, F] of its points, or [2 B, F] of two
        samplings one after the other.
        """
        settings, branches, found = self.config.loss, self.networks.branches, dict[str, tuple[float, Tensor]]()
        temperature, batch = settings.agreement_temperature, views.shape[1]
        weights = (settings.agreement_points, settings.agreement_views, settings.agreement_cross)
        if not any(weights):
            return found
        points = branches["points"].compared(features) if weights[0] or weights[2] else features
        images = branches["image"].compared(views) if weights[1] or weights[2] else views
        if weights[0] > 0:
            found["agreement_points"] = weights[0], nt_xent(points[:batch], points[batch:], temperature)
        if weights[1] > 0:
            found["agreement_views"] = weights[1], nt_xent(images[0], images[1], temperature)
        if weights[2] > 0:
            found["agreement_cross"] = weights[2], nt_xent(points[:batch].expand_as(images), images, temperature)
        return found

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """One group; image weights that were trained before have a rate of their own."""
        networks, weights = self.networks, self.config.image_weights
        if not isinstance(weights, TrainableWeights):
            return {"all": (ParameterGroup(tuple(networks.parameters())),)}
        before = {id(parameter) for parameter in networks.image.parameters()}
        rest = tuple(parameter for parameter in networks.parameters() if id(parameter) not in before)
        return {"all": (ParameterGroup(rest), ParameterGroup(tuple(networks.image.parameters()), rate=weights.rate))}

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """Both branches."""
        return self._models

    def _gathered(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches as stored, on the CPU: `points` [B, N, D] float, `views` [3 * B, 3, H, W] uint8; one copy each."""
        for objects in batches_of(self.fit, self.batch_size, rng):
            views, _ = draw_views(self.pack, objects, self.fit, self.config.negatives, rng)
            batch = {
                "points": torch.from_numpy(self.sampler.sample(objects, rng)),
                "views": torch.from_numpy(self.pack.views[views.reshape(-1)]),
            }
            if self.config.loss.agreement_points > 0:
                batch["again"] = torch.from_numpy(self.sampler.sample(objects, rng))
            yield batch

    def _augmented_points(self, points: Tensor, generator: torch.Generator) -> Tensor:
        augment = self.config.augment.points
        return points if augment == UNCHANGED else augment_points(points, self.config.points, augment, generator)

    def _augmented(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """[3 * B, 3, H, W] uint8 -> [3, B, 3, S, S] float in [0, 1]."""
        augment, size = self.config.augment, self.networks.image_size
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
        error; of each part of a branch that has a head. `val/probe` is the mean of the two; label draws are the same
        for every trial and epoch of a study.
        """
        settings, probe, size = self.config.validation, self.probe, self.networks.image_size
        points, image = self.networks.branches["points"], self.networks.branches["image"]
        encoder = points.whole()
        draws = [point_features(encoder, self.sampler, probe.objects, draw) for draw in range(settings.point_draws)]
        views = image_features(image.whole(), self.pack, probe.objects, size, views=settings.views).max(axis=1)
        found: dict[str, list[Features]] = defaultdict(list)
        for name, branch, versions in (("points", points, draws), ("image", image, [views])):
            for features in versions:
                for part, columns in branch.split(features).items():
                    found[f"{name}{part}"].append(columns)
        metrics = probe.metrics(found)
        metrics["val/probe"] = 0.5 * (metrics["val/points_probe"] + metrics["val/image_probe"])
        return metrics

    def _validation_batch(self, objects: Indices, repeat: int) -> tuple[Batch, float]:
        """An uncropped batch drawn the same way for every trial, and its share of same-class negatives."""
        views, negatives = draw_views(
            self.pack, objects, self.val, self.config.negatives, np.random.default_rng([2, repeat])
        )
        flat = torch.from_numpy(self.pack.views[views.reshape(-1)]).to(self.device)
        images = whole_images(flat, self.networks.image_size)
        batch = {
            "points": torch.from_numpy(self.sampler.draw(objects, repeat)).to(self.device),
            "images": images.reshape(*views.shape, *images.shape[1:]),
        }
        labels = self.pack.labels
        return batch, float(np.mean(labels[objects] == labels[negatives]))
