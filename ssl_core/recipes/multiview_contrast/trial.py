"""A point network learns what a frozen image network says of an object's views; beside it the image output is trained
(`ssl_core.recipes.multiview_contrast.image_output`). One trial of it, on one device.

A batch holds `points` [B, N, D], a second sampling `again` where agreement is asked for, `target` [B, F], the teacher's
features of the object, what the image output reads of some of its `views`, and where local contrast is asked for, pairs
of points and pixels (`local_contrast`). After it may come batches of other `views` of its objects alone: further steps
of the image output (`image.steps`). Everything random follows from (seed, epoch). The test split is never read
here, and the teacher is no part of what is trained or kept.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.data.batches import batches_of
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.losses.contrast import global_distillation
from ssl_core.models.cards import Card
from ssl_core.models.modes import evaluating
from ssl_core.models.readout import Part
from ssl_core.models.ridge import RidgeRegression
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from ssl_core.recipes.multiview_contrast.headed_networks import MultiviewContrastModels
from ssl_core.recipes.multiview_contrast.local_contrast import LocalHeads, LocalPairs
from ssl_core.recipes.multiview_contrast.points_trial import PointsTrial, numbers, summed
from ssl_core.recipes.multiview_contrast.teacher import TeacherFeatures
from ssl_core.recipes.multiview_contrast.trained_teacher import given_network
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched


class MultiviewContrastTrial(PointsTrial):
    """One trial on one device, over the folders of its stages: `teacher`, and `local` (pairs, maps) where it has local
    contrast. Raises InfeasibleError when the pack cannot serve the config, ConfigError for stages of something else."""

    networks: MultiviewContrastModels

    def __init__(
        self,
        config: MultiviewContrastConfig,
        pack: ObjectPack,
        teacher: Path,
        seed: int,
        device: torch.device,
        local: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(config, pack, seed, device)
        self.learns = config.heads.kind == "mlp"
        self.teacher = TeacherFeatures.of(teacher, pack)
        self.teacher_network = given_network(config.teacher.network, pack, teacher.parent, device)
        self._targets = self.teacher.targets(self.fit)
        self.networks = MultiviewContrastModels(config, pack, self.teacher, seed)
        self.image_steps = self.networks.image.steps if self.networks.image.trained() else 1
        self.steps_per_epoch = len(self.fit) // self.batch_size * self.image_steps if self.learns else 0
        self._seen: tuple[Tensor, Tensor] | None = None
        self.local: LocalPairs | None = None
        if local is not None:
            self.local = LocalPairs.opened(config.pairs, local, self.sampler, self.teacher.views.shape[1])
            self.local.check(self.fit)
            widths = config.point_backbone.feature_dim, self.local.maps.dim
            self.networks.local = LocalHeads(widths, config.heads.hidden, config.pairs, seed + 3)
        self.module: nn.Module = self.networks
        self._models = self._exported()
        self._known: dict[str, float] = {}

    # ---- training

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Points and views are augmented on the device, after they travelled as they are. None where nothing learns."""
        if not self.learns:
            return
        rng, generator = self._generators(epoch)
        for batch in prefetched(self._gathered(rng), self.device):
            points = {}
            if "points" in batch:
                points["points"] = self._augmented(batch["points"], generator, batch.get("in_pairs"))
            if "again" in batch:
                points["again"] = self._augmented(batch["again"], generator)
            yield {**batch, **points, "views": self.networks.image.augmented(batch["views"], generator)}

    def samples(self, batch: Batch) -> int:
        """Objects, each once."""
        return len(batch["points"]) if "points" in batch else 0

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Of the point network, and of the image output, which the point network does not hear of."""
        if "points" not in batch:
            assert self._seen is not None, "such a batch follows one with the points of its objects"
            return {"image": self.networks.image.loss(batch["views"], *self._seen)}
        settings, networks, target = self.config.loss, self.networks, batch["target"]
        twice, told = "again" in batch, dict[str, Tensor]()
        points = torch.cat([batch["points"], batch["again"]]) if twice else batch["points"]
        if networks.local is None:
            parts, transform = networks.parts(points)
        else:
            parts, transform, rows = networks.parts_and_rows(points)
        targets = torch.cat([target, target]) if twice else target
        distilled = global_distillation(parts["head"], targets, settings.global_loss)
        terms = {"global": (settings.global_weight, distilled), **self._point_terms(parts, transform, twice)}
        if networks.local is not None:
            local = networks.local.loss(rows[: len(target)], batch, settings.local_temperature)
            terms["local"] = settings.local_weight, local
            told["pairs_repeated"] = batch["pairs_repeated"].mean()
        losses = {"points": summed(terms, **told)}
        if networks.image.trained():
            seen = networks.taught({name: part[: len(target)] for name, part in parts.items()})
            losses["image"] = networks.image.loss(batch["views"], seen, target)
            self._seen = seen.detach(), target
        return losses

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """The point network with its head, and the image output; no ridge regression, and none where nothing learns."""
        if not self.learns:
            return {}
        networks, image = self.networks, self.networks.image.trained()
        local = () if networks.local is None else networks.local.parameters()
        groups = {"points": (ParameterGroup((*networks.points.parameters(), *networks.head.trained(), *local)),)}
        return {**groups, "image": (ParameterGroup(image, rate=self.config.image.rate),)} if image else groups

    def _exported(self) -> Mapping[str, tuple[nn.Module, Card]]:
        image = self.networks.image.exported(self.device, self.teacher_network)
        return {"points": self.networks.exported(self.config), "image": image}

    def _gathered(self, rng: np.random.Generator) -> Iterator[Batch]:
        twice = self.config.loss.agreement_weight > 0
        for objects in batches_of(self.fit, self.batch_size, rng):
            views = self.networks.image.batch(objects, rng)
            picked = self.sampler.pick(objects, rng)
            if self.local is not None:
                picked = self.local.complete(objects, picked, rng)
            points = self.sampler.gather(objects, picked)
            batch = {**views, "points": torch.from_numpy(points), "target": torch.from_numpy(self._targets[objects])}
            if self.local is not None:
                batch |= self.local.draw(objects, picked, points[..., :3], rng)
            yield {**batch, "again": torch.from_numpy(self.sampler.sample(objects, rng))} if twice else batch
            for _ in range(self.image_steps - 1):
                yield self.networks.image.batch(objects, rng)

    # ---- validation

    def validate(self) -> dict[str, float]:
        """Probes on the validation objects, of what is exported and of every part; accuracies in [0, 1].

        Ridge regressions are solved anew before that, on the fit objects alone.
        """
        if self._known:
            return dict(self._known)
        with evaluating(self.networks):
            self._solve()
            draws = [self._point_parts(self.probe.objects, draw) for draw in range(self.config.validation.point_draws)]
            image = self._image_parts()
        exported = {
            "points": [numbers(self.networks.read(draw)) for draw in draws],
            "image": [numbers(torch.cat([image[part] for part in self.config.heads.read_image], dim=1))],
        }
        parts = {f"points_{part}": [numbers(draw[part]) for draw in draws] for part in draws[0]}
        frozen = self.teacher.of_views(self.probe.objects, self.config.validation.views).max(axis=1)
        metrics = self.probe.metrics({**exported, **parts, "teacher": [frozen]})
        metrics["val/probe"] = 0.5 * (metrics["val/points_probe"] + metrics["val/image_probe"])
        if self.local is not None:
            with evaluating(self.networks):
                metrics |= self.local.retrieval(self.pack.objects("val"), self.batch_size, self._embedded)
        if not self.learns:
            self._known = dict(metrics)
        return metrics

    def _embedded(self, points: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Points [B, N, D] and a batch's pairs on the CPU -> their places in the space of local contrast."""
        assert self.networks.local is not None
        rows = self.networks.parts_and_rows(points.to(self.device))[2]
        return self.networks.local.embed(rows, {name: value.to(self.device) for name, value in batch.items()})

    def _solve(self) -> None:
        """Refit the ridge regressions that are read."""
        head, image = self.networks.head, self.networks.image
        if head.ridge is None and image.head.ridge is None:
            return
        target = torch.from_numpy(self._targets[self.fit])
        parts = self._point_parts(self.fit, 0)
        if head.ridge is not None:
            features = parts["backbone"]
            regression = RidgeRegression(features, self.config.heads.points_penalty)
            regression.solve_into(head.ridge, target)
            parts["ridge"] = head.ridge(features.to(self.device)).cpu()
        if image.head.ridge is not None:
            image.solve(self.fit, self.networks.taught(parts), target)

    def _image_parts(self) -> dict[Part, Tensor]:
        """Of the probe's objects: evenly spaced views, pooled by their maximum."""
        image = self.networks.image
        views = image.view_features(self.probe.objects, self.config.validation.views)
        parts = image.head(views.flatten(0, 1).to(self.device))
        return {part: value.unflatten(0, views.shape[:2]).amax(dim=1).float().cpu() for part, value in parts.items()}
