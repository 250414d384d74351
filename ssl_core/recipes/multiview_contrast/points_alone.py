"""A trial on a pack without views: no teacher, no image encoder; two samplings of an object agree (NT-Xent).

A batch holds `points` [B, N, D] and a second sampling `again`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ssl_core.data.batches import batches_of
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_augment import augment_points
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import Features, point_batches
from ssl_core.evaluation.few_shot import FewShotProbe
from ssl_core.losses.contrast import nt_xent
from ssl_core.models.cards import Card
from ssl_core.models.modes import evaluating
from ssl_core.models.pointnet import transform_regulariser
from ssl_core.models.readout import Part
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from ssl_core.recipes.multiview_contrast.headed_networks import HeadedPoints
from ssl_core.recipes.multiview_contrast.trial import check
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched

TRAINED: tuple[Part, ...] = ("backbone", "hidden")


class PointsAloneTrial:
    """One trial on one device. Raises InfeasibleError when the pack cannot serve the config."""

    def __init__(self, config: MultiviewContrastConfig, pack: ObjectPack, seed: int, device: torch.device) -> None:
        check(config, pack)
        self.config, self.pack, self.seed, self.device = config, pack, seed, device
        self.fit = pack.objects("fit")
        self.probe = FewShotProbe(pack, config.validation)
        self.sampler = PointSampler(pack, config.points, np.concatenate([self.fit, pack.objects("val")]))
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.steps_per_epoch = len(self.fit) // self.batch_size
        self.networks = HeadedPoints(config, config.heads.hidden, seed)
        self.module: nn.Module = self.networks
        self._models = {"points": self.networks.exported(config)}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Points are augmented on the device, after they travelled as they are."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for batch in prefetched(self._gathered(rng), self.device):
            yield {
                name: augment_points(points, self.config.points, self.config.augment, generator)
                for name, points in batch.items()
            }

    def samples(self, batch: Batch) -> int:
        """Objects."""
        return len(batch["points"])

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Of the point network alone."""
        settings = self.config.loss
        parts, transform = self.networks.parts(torch.cat([batch["points"], batch["again"]]))
        first, second = parts["hidden"].chunk(2)
        agreement = nt_xent(first, second, settings.agreement_temperature)
        terms, total = {"agreement": agreement}, settings.agreement_weight * agreement
        if settings.transform_weight > 0 and transform is not None:
            terms["transform"] = transform_regulariser(transform)
            total = total + settings.transform_weight * terms["transform"]
        return {"points": LossTerms(total, terms)}

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """The point network and the hidden layer over it."""
        networks = self.networks
        trained = (*networks.points.parameters(), *networks.head.hidden.parameters())
        return {"points": (ParameterGroup(trained),)}

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """The point encoder."""
        return self._models

    def validate(self) -> dict[str, float]:
        """Probes on the validation objects, of what is exported and of every part; accuracies in [0, 1]."""
        with evaluating(self.networks):
            draws = [self._parts(draw) for draw in range(self.config.validation.point_draws)]
        exported = [np.concatenate([draw[part] for part in self.networks.readout.parts], axis=1) for draw in draws]
        parts = {f"points_{part}": [draw[part] for draw in draws] for part in TRAINED}
        metrics = self.probe.metrics({"points": exported, **parts})
        metrics["val/probe"] = metrics["val/points_probe"]
        return metrics

    def _parts(self, draw: int) -> dict[Part, Features]:
        """[objects, F] of the probe's objects, of one draw of points."""
        batches = point_batches(self.sampler, self.probe.objects, draw)
        rows = [self.networks.parts(batch.to(self.device))[0] for batch in batches]
        return {part: torch.cat([row[part] for row in rows]).float().cpu().numpy() for part in TRAINED}

    def _gathered(self, rng: np.random.Generator) -> Iterator[Batch]:
        for objects in batches_of(self.fit, self.batch_size, rng):
            drawn: dict[str, Any] = {name: self.sampler.sample(objects, rng) for name in ("points", "again")}
            yield {name: torch.from_numpy(points) for name, points in drawn.items()}
