"""A trial on a pack without views: no teacher, no image encoder; two samplings of an object agree (NT-Xent).

A batch holds `points` [B, N, D] and a second sampling `again`.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from ssl_core.data.batches import batches_of
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.models.modes import evaluating
from ssl_core.models.readout import Part
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from ssl_core.recipes.multiview_contrast.headed_networks import HeadedPoints
from ssl_core.recipes.multiview_contrast.points_trial import PointsTrial, numbers, summed
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched

TRAINED: tuple[Part, ...] = ("backbone", "hidden")


class PointsAloneTrial(PointsTrial):
    """One trial on one device. Raises InfeasibleError when the pack cannot serve the config."""

    def __init__(self, config: MultiviewContrastConfig, pack: ObjectPack, seed: int, device: torch.device) -> None:
        super().__init__(config, pack, seed, device)
        self.networks = HeadedPoints(config, config.heads.hidden, seed)
        self.module: nn.Module = self.networks
        self._models = {"points": self.networks.exported(config)}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Points are augmented on the device, after they travelled as they are."""
        rng, generator = self._generators(epoch)
        for batch in prefetched(self._gathered(rng), self.device):
            yield {name: self._augmented(points, generator) for name, points in batch.items()}

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Of the point network alone."""
        parts, transform = self.networks.parts(torch.cat([batch["points"], batch["again"]]))
        return {"points": summed(self._point_terms(parts, transform, twice=True))}

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """The point network and the hidden layer over it."""
        networks = self.networks
        trained = (*networks.points.parameters(), *networks.head.hidden.parameters())
        return {"points": (ParameterGroup(trained),)}

    def validate(self) -> dict[str, float]:
        """Probes on the validation objects, of what is exported and of every part; accuracies in [0, 1]."""
        with evaluating(self.networks):
            draws = [self._point_parts(self.probe.objects, draw) for draw in range(self.config.validation.point_draws)]
        exported = [numbers(self.networks.read(draw)) for draw in draws]
        parts = {f"points_{part}": [numbers(draw[part]) for draw in draws] for part in TRAINED}
        metrics = self.probe.metrics({"points": exported, **parts})
        metrics["val/probe"] = metrics["val/points_probe"]
        return metrics

    def _gathered(self, rng: np.random.Generator) -> Iterator[Batch]:
        for objects in batches_of(self.fit, self.batch_size, rng):
            yield {name: torch.from_numpy(self.sampler.sample(objects, rng)) for name in ("points", "again")}
