"""What every trial of this recipe does with points: what it asks of the pack, how points are drawn and augmented, and
the terms that need no teacher (agreement of two samplings, NT-Xent; the T-Net regulariser).
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.point_augment import augment_points
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import Features, point_batches
from ssl_core.evaluation.few_shot import FewShotProbe
from ssl_core.losses.contrast import nt_xent
from ssl_core.models.cards import Card
from ssl_core.models.pointnet import transform_regulariser
from ssl_core.models.readout import Part
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from ssl_core.recipes.multiview_contrast.headed_networks import HeadedPoints
from ssl_core.recipes.multiview_contrast.pairs import camera_of
from ssl_core.recipes.multiview_contrast.teacher import has_views
from ssl_core.training.contract import Batch, LossTerms

WeightedTerms = dict[str, tuple[float, Tensor]]
"""Weight and value of each term of a loss, by name."""


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
    if has_views(config, pack):
        if int(pack.num_views[pack.objects("train")].min()) < 1:
            raise InfeasibleError("an object of the pack has no view, and the teacher reads views; pack images too")
        if config.loss.local_weight > 0:
            camera_of(pack, int(pack.first_view[fit[0]]))
    else:
        _check_without_views(config)


def _check_without_views(config: MultiviewContrastConfig) -> None:
    if config.loss.local_weight > 0:
        raise InfeasibleError("the pack has no views, and loss.local_weight asks for their pixels; set it to 0")
    if config.loss.global_weight > 0 or config.loss.agreement_weight == 0:
        raise InfeasibleError(
            "the pack has no views, and loss.global_weight asks for what the teacher says of them; pack images too, or "
            "set loss.global_weight to 0 and loss.agreement_weight to 1"
        )
    if only := {"head", "ridge"} & set(config.heads.read_points):
        raise InfeasibleError(
            f"heads.points names '{min(only)}', which only a teacher gives a meaning; without views use [hidden]"
        )


class PointsTrial:
    """The part of a trial that points have alone, on one device. Raises InfeasibleError when the pack cannot serve the
    config."""

    networks: HeadedPoints
    _models: Mapping[str, tuple[nn.Module, Card]]

    def __init__(self, config: MultiviewContrastConfig, pack: ObjectPack, seed: int, device: torch.device) -> None:
        check(config, pack)
        self.config, self.pack, self.seed, self.device = config, pack, seed, device
        self.fit = pack.objects("fit")
        self.probe = FewShotProbe(pack, config.validation)
        self.sampler = PointSampler(pack, config.points, np.concatenate([self.fit, pack.objects("val")]))
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.steps_per_epoch = len(self.fit) // self.batch_size

    def samples(self, batch: Batch) -> int:
        """Objects."""
        return len(batch["points"])

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """The point encoder, and the image output's where there is one."""
        return self._models

    def _generators(self, epoch: int) -> tuple[np.random.Generator, torch.Generator]:
        """Of what is drawn from the pack, and of what happens to it on the device."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))

    def _augmented(self, points: Tensor, generator: torch.Generator, staying: Tensor | None = None) -> Tensor:
        return augment_points(points, self.config.points, self.config.augment, generator, staying)

    def _point_terms(self, parts: Mapping[Part, Tensor], transform: Tensor | None, twice: bool) -> WeightedTerms:
        """The terms that need no teacher; `twice`: the rows of `parts` are two samplings, one after the other."""
        settings, found = self.config.loss, WeightedTerms()
        if twice:
            first, second = parts["hidden"].chunk(2)
            agreement = nt_xent(first, second, settings.agreement_temperature)
            found["agreement"] = settings.agreement_weight, agreement
        if settings.transform_weight > 0 and transform is not None:
            found["transform"] = settings.transform_weight, transform_regulariser(transform)
        return found

    def _point_parts(self, objects: NDArray[np.int64], draw: int) -> dict[Part, Tensor]:
        """[objects, F] on the CPU, of one draw of points."""
        rows = [self.networks.parts(batch.to(self.device))[0] for batch in point_batches(self.sampler, objects, draw)]
        return {part: torch.cat([row[part] for row in rows]).float().cpu() for part in rows[0]}


def summed(found: WeightedTerms, **told: Tensor) -> LossTerms:
    """The weighted sum, and each term unweighted; `told` are told beside them and trained by nobody."""
    terms = {name: term for name, (_, term) in found.items()}
    total: Tensor = sum((weight * term for weight, term in found.values()), start=torch.zeros(()))
    return LossTerms(total, {**terms, **told})


def numbers(features: Tensor) -> Features:
    """As the probes take them."""
    found: Features = features.numpy()
    return found
