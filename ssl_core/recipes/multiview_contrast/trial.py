"""A point network learns what a frozen image network says of an object's views; an adapter over that network learns
what the point network says. One trial of it, on one device.

A batch holds `points` [B, N, D], a second sampling `again` where agreement is asked for, `target` [B, F] and `views`
[B, 2, F], the teacher's features of the object and of two of its views. Everything random follows from (seed, epoch).
The test split is never read here, and the teacher is no part of what is trained or kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.data.batches import batches_of
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_augment import augment_points
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import Features, point_batches
from ssl_core.evaluation.few_shot import FewShotProbe
from ssl_core.losses.contrast import global_distillation, nt_xent
from ssl_core.models.build import Encoder, build_point_encoder, seeded_weights
from ssl_core.models.cards import Card, PointEncoderCard
from ssl_core.models.modes import evaluating
from ssl_core.models.pointnet import PointNet, transform_regulariser
from ssl_core.models.readout import Part, ReadOut, ReadoutConfig, head_layers
from ssl_core.models.teachers import build_teacher, teacher_card
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from ssl_core.recipes.multiview_contrast.teacher import TeacherFeatures
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched

VIEWS_PER_STEP = 2
PARTS: tuple[Part, ...] = ("backbone", "hidden", "head")


def check(config: MultiviewContrastConfig, pack: ObjectPack) -> None:
    """Raises InfeasibleError when the pack cannot serve the config."""
    check_contract(pack, config.points)
    fit = pack.objects("fit")
    if len(fit) < 2 or len(pack.objects("val")) == 0:
        raise InfeasibleError(
            f"the pack has {len(fit)} training and {len(pack.objects('val'))} validation objects; at least 2 and 1 are "
            "needed: give each class at least 2 training objects"
        )
    if len(np.unique(pack.labels[fit])) < 2:
        raise InfeasibleError("probes need objects of at least 2 classes")
    fewest = int(pack.num_views[pack.objects("train")].min())
    if fewest < 1:
        raise InfeasibleError("an object of the pack has no view, and the teacher reads views; pack images too")


class MultiviewContrastModels(nn.Module):
    """All that is trained: point backbone with its head, adapter over the teacher's features with its own."""

    def __init__(self, config: MultiviewContrastConfig, teacher_dim: int, seed: int) -> None:
        super().__init__()
        columns, heads = config.point_backbone.feature_dim, config.heads
        self.points = build_point_encoder(config.points, config.point_backbone, seed=seed)
        self.readout = ReadoutConfig(hidden=heads.hidden, output=teacher_dim, parts=heads.points)
        self.adapted = ReadoutConfig(
            hidden=heads.hidden, output=self.readout.width(columns), parts=heads.image, frozen=True
        )
        with seeded_weights(seed + 1):
            self.hidden, self.output = head_layers(columns, self.readout)
            self.adapter_hidden, self.adapter_output = head_layers(teacher_dim, self.adapted)

    def parts(self, points: Tensor) -> tuple[dict[Part, Tensor], Tensor | None]:
        """[B, N, D] -> each part of the network, [B, F], and the feature transform of a backbone that has one."""
        backbone, transform = self.points.backbone, None
        if isinstance(backbone, PointNet):
            features, transform = backbone.features_and_transform(points)
        else:
            features = self.points(points)
        hidden = self.hidden(features)
        return {"backbone": features, "hidden": hidden, "head": self.output(hidden)}, transform

    def adapt(self, views: Tensor) -> dict[Part, Tensor]:
        """The teacher's features [B, F] -> each part of the adapter, [B, F]."""
        hidden = self.adapter_hidden(views)
        return {"backbone": views, "hidden": hidden, "head": self.adapter_output(hidden)}


class MultiviewContrastTrial:
    """One trial on one device. Raises InfeasibleError when the pack cannot serve the config."""

    def __init__(
        self, config: MultiviewContrastConfig, pack: ObjectPack, teacher: Path, seed: int, device: torch.device
    ) -> None:
        check(config, pack)
        self.config, self.pack, self.seed, self.device = config, pack, seed, device
        self.fit = pack.objects("fit")
        self.probe = FewShotProbe(pack, config.validation)
        self.sampler = PointSampler(pack, config.points, np.concatenate([self.fit, pack.objects("val")]))
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.steps_per_epoch = len(self.fit) // self.batch_size
        self.teacher = TeacherFeatures.of(teacher, pack)
        self._targets = np.zeros((len(pack.manifest.objects), self.teacher.dim), dtype=np.float32)
        self._targets[self.fit] = self.teacher.targets(self.fit)
        self.networks = MultiviewContrastModels(config, self.teacher.dim, seed)
        self.module: nn.Module = self.networks
        self._models = self._exported()

    # ---- training

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Points are augmented on the device, after they travelled as they are."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for batch in prefetched(self._gathered(rng), self.device):
            points = {name: self._augmented(batch[name], generator) for name in ("points", "again") if name in batch}
            yield {**batch, **points, "views": self._dropped_out(batch["views"], generator)}

    def samples(self, batch: Batch) -> int:
        """Objects."""
        return len(batch["points"])

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Of the point network, and of the adapter, which the point network does not hear of."""
        settings = self.config.loss
        twice = settings.agreement_weight > 0
        points = torch.cat([batch["points"], batch["again"]]) if twice else batch["points"]
        parts, transform = self.networks.parts(points)
        target = batch["target"]
        distilled = global_distillation(
            parts["head"], torch.cat([target, target]) if twice else target, settings.global_loss
        )
        terms, total = {"global": distilled}, settings.global_weight * distilled
        if twice:
            first, second = parts["hidden"].chunk(2)
            terms["agreement"] = nt_xent(first, second, settings.agreement_temperature)
            total = total + settings.agreement_weight * terms["agreement"]
        if settings.transform_weight > 0 and transform is not None:
            terms["transform"] = transform_regulariser(transform)
            total = total + settings.transform_weight * terms["transform"]
        seen = {name: part[: len(target)] for name, part in parts.items()}
        return {"points": LossTerms(total, terms), "image": self._adapter_loss(batch["views"], seen)}

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """The point network with its head, and the adapter."""
        networks = self.networks
        points = (networks.points, networks.hidden, networks.output)
        image = (networks.adapter_hidden, networks.adapter_output)
        return {
            name: (ParameterGroup(tuple(p for module in modules for p in module.parameters())),)
            for name, modules in (("points", points), ("image", image))
        }

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """The point encoder, and the teacher under its adapter."""
        return self._models

    def _exported(self) -> Mapping[str, tuple[nn.Module, Card]]:
        config, networks = self.config, self.networks
        points_card = PointEncoderCard(contract=config.points, backbone=config.point_backbone, readout=networks.readout)
        read = ReadOut(networks.points.backbone, networks.hidden, networks.output, config.heads.points)
        points = Encoder(config.points, read, points_card.output_shape[0])
        teacher = build_teacher(config.teacher.network).to(self.device)
        image_card = teacher_card(config.teacher.network).model_copy(update={"readout": networks.adapted})
        adapted = ReadOut(teacher.backbone, networks.adapter_hidden, networks.adapter_output, config.heads.image)
        image = Encoder(image_card.contract, adapted, image_card.output_shape[0])
        return {"points": (points, points_card), "image": (image, image_card)}

    def _gathered(self, rng: np.random.Generator) -> Iterator[Batch]:
        twice = self.config.loss.agreement_weight > 0
        for objects in batches_of(self.fit, self.batch_size, rng):
            rows = self.teacher.row[objects][:, None]
            views = rng.integers(0, self.teacher.views.shape[1], size=(len(objects), VIEWS_PER_STEP))
            batch = {
                "points": torch.from_numpy(self.sampler.sample(objects, rng)),
                "target": torch.from_numpy(self._targets[objects]),
                "views": torch.from_numpy(self.teacher.views[rows, views]),
            }
            yield {**batch, "again": torch.from_numpy(self.sampler.sample(objects, rng))} if twice else batch

    def _augmented(self, points: Tensor, generator: torch.Generator) -> Tensor:
        return augment_points(points, self.config.points, self.config.augment, generator)

    def _dropped_out(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Dropout by the trial's own generator, so that an epoch is the same whenever it is run."""
        share = self.config.heads.dropout
        kept = (torch.rand(views.shape, generator=generator) >= share).to(views)
        return views * kept / (1 - share)

    def _adapter_loss(self, views: Tensor, parts: Mapping[Part, Tensor]) -> LossTerms:
        """How far the adapter's prediction from single views is from the point encoder's features, standardised over
        the batch: raw, their large common part would be all there is to learn."""
        wanted = torch.cat([parts[part] for part in self.config.heads.points], dim=1).detach().float()
        wanted = (wanted - wanted.mean(dim=0)) / wanted.std(dim=0).clamp_min(1e-6)
        predicted = self.networks.adapt(views.flatten(0, 1))["head"]
        loss = global_distillation(predicted, wanted.repeat_interleave(VIEWS_PER_STEP, dim=0), "cosine")
        return LossTerms(loss, {"adapter": loss})

    # ---- validation

    def validate(self) -> dict[str, float]:
        """Probes on the validation objects, of what is exported and of every part; accuracies in [0, 1]."""
        with evaluating(self.networks):
            points, image = self._point_parts(), self._image_parts()
        heads = self.config.heads
        exported: dict[str, list[Features]] = {
            "points": [np.concatenate([draw[part] for part in heads.points], axis=1) for draw in points],
            "image": [np.concatenate([image[part] for part in heads.image], axis=1)],
        }
        parts = {f"points_{part}": [draw[part] for draw in points] for part in PARTS}
        metrics = self.probe.metrics({**exported, **parts, "teacher": [image["backbone"]]})
        metrics["val/probe"] = 0.5 * (metrics["val/points_probe"] + metrics["val/image_probe"])
        return metrics

    def _point_parts(self) -> list[dict[Part, Features]]:
        """Of the probe's objects, for each point draw."""
        found = []
        for draw in range(self.config.validation.point_draws):
            batches = point_batches(self.sampler, self.probe.objects, draw)
            rows = [self.networks.parts(batch.to(self.device))[0] for batch in batches]
            found.append({part: torch.cat([row[part] for row in rows]).float().cpu().numpy() for part in PARTS})
        return found

    def _image_parts(self) -> dict[Part, Features]:
        """Of the probe's objects: views that the teacher saw, pooled by their maximum."""
        views = np.array(self.teacher.views[self.teacher.row[self.probe.objects]][:, : self.config.validation.views])
        parts = self.networks.adapt(torch.from_numpy(views).flatten(0, 1).to(self.device))
        shape = views.shape[:2]
        return {part: value.unflatten(0, shape).amax(dim=1).float().cpu().numpy() for part, value in parts.items()}
