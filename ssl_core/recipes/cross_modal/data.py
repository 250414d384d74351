"""Batches of the cross-modal recipe: per object its points, two of its views, and one view of another object."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.augment import color_distortion, random_resized_crop, whole_images
from ssl_core.data.batches import Indices, batches_of, draw_views
from ssl_core.data.pack import Pack
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError
from ssl_core.recipe import Batch
from ssl_core.recipes.cross_modal.config import CrossModalConfig
from ssl_core.recipes.cross_modal.evaluate import validate
from ssl_core.recipes.cross_modal.objective import CrossModalObjective
from ssl_core.training.prefetch import prefetched


def check(config: CrossModalConfig, pack: Pack) -> None:
    """Raises InfeasibleError when the pack cannot serve the config."""
    check_contract(pack, config.points)
    fit = pack.objects("fit")
    if len(fit) < 2:
        raise InfeasibleError(f"the pack has {len(fit)} training object(s) besides validation; at least 2 are needed")
    if len(pack.objects("val")) == 0:
        raise InfeasibleError("the pack has no validation object; give each class at least 2 training objects")
    if len(np.unique(pack.labels[fit])) < 2:
        raise InfeasibleError("training and probes need objects of at least 2 classes")


class CrossModalData:
    """Training batches and validation of one trial. Everything random follows from (seed, epoch)."""

    def __init__(self, config: CrossModalConfig, pack: Pack, seed: int, device: torch.device) -> None:
        check(config, pack)
        self.config, self.pack, self.seed, self.device = config, pack, seed, device
        self.fit, self.val = pack.objects("fit"), pack.objects("val")
        self.sampler = PointSampler(pack, config.points, np.concatenate([self.fit, self.val]))
        self.batch_size = min(config.training.batch_size, len(self.fit))
        self.iterations_per_epoch = len(self.fit) // self.batch_size  # a last short batch would skew batch norm

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch: `points` [B, N, D], `images` [3, B, 3, S, S] float in [0, 1].

        What comes out of the pack travels to the device as it is stored, ahead of its turn; crops are made there.
        """
        rng = np.random.default_rng([self.seed, 1, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for batch in prefetched(self._gathered(rng), self.device):
            yield {"points": batch["points"], "images": self._augmented(batch["views"], generator)}

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

    def _resized(self, views: Indices) -> Tensor:
        """Views [3, B] -> [3, B, 3, S, S] float in [0, 1], whole."""
        flat = torch.from_numpy(self.pack.views[views.reshape(-1)]).to(self.device)
        images = whole_images(flat, self.config.image.image_size)
        return images.reshape(*views.shape, *images.shape[1:])

    def validate(self, objective: CrossModalObjective) -> dict[str, float]:
        """Matching and probes on the validation objects; see evaluate.py."""
        return validate(objective, self)

    def validation_batch(self, objects: Indices, repeat: int) -> tuple[Batch, float]:
        """An uncropped batch drawn the same way for every trial, and its share of same-class negatives."""
        rng = np.random.default_rng([2, repeat])
        views, negatives = draw_views(self.pack, objects, self.val, self.config.negatives, rng)
        labels = self.pack.labels
        batch = {
            "points": torch.from_numpy(self.sampler.draw(objects, repeat)).to(self.device),
            "images": self._resized(views),
        }
        return batch, float(np.mean(labels[objects] == labels[negatives]))
