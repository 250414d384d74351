"""The output `image` by mutual distillation: a head over the frozen network that learns what the point encoder says of
an object from its views (`Adapter`), or an image network from scratch that is distilled as the points are
(`Student`).

Both describe single views; features of several views of an object are pooled by their maximum, as everywhere.
"""

import numpy as np
import torch
from torch import Tensor, nn

from ssl_core.contracts import ImageContract
from ssl_core.data.augment import random_resized_crop
from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import image_features
from ssl_core.losses.contrast import global_distillation
from ssl_core.models.build import Encoder, build_image_encoder
from ssl_core.models.cards import ImageEncoderCard
from ssl_core.models.readout import Head, ReadOut, ReadoutConfig
from ssl_core.models.ridge import RidgeRegression
from ssl_core.models.teachers import Teacher, build_teacher, teacher_card
from ssl_core.recipes.multiview_contrast.config import AdapterConfig, MultiviewContrastConfig, StudentConfig
from ssl_core.recipes.multiview_contrast.teacher import TeacherFeatures
from ssl_core.training.contract import Batch, LossTerms

VIEWS_PER_STEP = 2


class Adapter(nn.Module):
    """A head over the frozen network's features, which the stage holds. The network itself is no part of it.

    Args:
        settings: `config.image`.
        width: of what it learns to predict, `config.taught` of the point network.
    """

    def __init__(
        self, config: MultiviewContrastConfig, settings: AdapterConfig, teacher: TeacherFeatures, width: int
    ) -> None:
        super().__init__()
        self.config, self.settings, self.teacher, self.steps = config, settings, teacher, settings.steps
        self.readout = ReadoutConfig(hidden=config.heads.hidden, output=width, parts=config.heads.read_image)
        self.head = Head(teacher.dim, self.readout)
        self._regression: RidgeRegression | None = None

    def batch(self, objects: Indices, rng: np.random.Generator) -> Batch:
        """`views` [B, V, F]: what the network says of V random views of each object."""
        views = rng.integers(0, self.teacher.views.shape[1], size=(len(objects), self.settings.views))
        return {"views": torch.from_numpy(self.teacher.views[self.teacher.row[objects][:, None], views])}

    def augmented(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Dropout by the trial's own generator, so that an epoch is the same whenever it is run."""
        share = self.config.heads.dropout
        kept = (torch.rand(views.shape, generator=generator) >= share).to(views)
        return views * kept / (1 - share)

    def trained(self) -> tuple[nn.Parameter, ...]:
        """What gradients move: nothing where only the ridge regression is read."""
        return self.head.trained() if {"hidden", "head"} & set(self.readout.parts) else ()

    def loss(self, views: Tensor, points: Tensor, _: Tensor) -> LossTerms:
        """How far predictions are from the point encoder's features [B, width]. They are made of the hidden layer's
        maximum over views: so it is pooled when it is read, and a layer trained on single views loses by that."""
        hidden = self.head.hidden(views.flatten(0, 1)).unflatten(0, views.shape[:2]).amax(dim=1)
        loss = global_distillation(self.head.output(hidden), standardised(points), "cosine")
        return LossTerms(loss, {"adapter": loss})

    def solve(self, objects: Indices, points: Tensor, _: Tensor) -> None:
        """Refit the ridge regression to the point encoder's features of these objects."""
        if self._regression is None:  # the frozen network says the same in every epoch
            # over pooled features: one over single views loses more by the maximum over its predictions (docs/LOG.md)
            pooled = self.view_features(objects, self.config.teacher.views).amax(dim=1)
            self._regression = RidgeRegression(pooled, self.config.heads.image_penalty)
        assert self.head.ridge is not None
        self._regression.solve_into(self.head.ridge, points)

    def view_features(self, objects: Indices, views: int) -> Tensor:
        """[objects, V, F] on the CPU."""
        return torch.from_numpy(self.teacher.of_views(objects, views))

    def exported(self, device: torch.device, network: Teacher) -> tuple[Encoder, ImageEncoderCard]:
        """The frozen `network` under the head's parts."""
        card = teacher_card(network).model_copy(update={"readout": self.readout, "frozen_backbone": True})
        teacher = build_teacher(network).to(device)
        read = ReadOut(teacher.backbone, self.head, self.readout.parts)
        return Encoder(card.contract, read, card.output_shape[0]).to(device), card


class Student(nn.Module):
    """An image network of its own, distilled from the object's pooled teacher features or from the point encoder.

    Args:
        settings: `config.image`.
        width: of the point encoder's features.
        seed: of the network's initial weights.
    """

    def __init__(
        self,
        config: MultiviewContrastConfig,
        settings: StudentConfig,
        sources: tuple[ObjectPack, TeacherFeatures],
        width: int,
        seed: int,
    ) -> None:
        super().__init__()
        (self.pack, teacher), self.config, self.settings, self.steps = sources, config, settings, 1
        output = teacher.dim if settings.target == "teacher" else width
        self.readout = ReadoutConfig(hidden=config.heads.hidden, output=output, parts=config.heads.read_image)
        self.contract = ImageContract(image_size=settings.image_size)
        self.encoder = build_image_encoder(self.contract, settings.backbone, seed=seed)
        self.head = Head(self.encoder.feature_dim, self.readout)

    def batch(self, objects: Indices, rng: np.random.Generator) -> Batch:
        """`views` [B, 2, 3, H, W] uint8: two random views of each object."""
        count = self.pack.num_views[objects][:, None]
        drawn = self.pack.first_view[objects][:, None] + rng.integers(0, count, size=(len(objects), VIEWS_PER_STEP))
        return {"views": torch.from_numpy(self.pack.views[drawn.reshape(-1)]).unflatten(0, drawn.shape)}

    def augmented(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Random crops, [B, 2, 3, S, S] float32 in [0, 1]."""
        size, scale = self.settings.image_size, self.settings.crop_min_scale
        cropped: Tensor = random_resized_crop(views.flatten(0, 1), size, scale, generator).unflatten(0, views.shape[:2])
        return cropped

    def trained(self) -> tuple[nn.Parameter, ...]:
        """What gradients move."""
        return (*self.encoder.parameters(), *self.head.trained())

    def loss(self, views: Tensor, points: Tensor, target: Tensor) -> LossTerms:
        """How far predictions from single views are from the object's `target` [B, F], or from the `points`."""
        wanted = target if self.settings.target == "teacher" else standardised(points)
        predicted = self.head(self.encoder(views.flatten(0, 1)))["head"]
        loss = global_distillation(predicted, wanted.repeat_interleave(VIEWS_PER_STEP, dim=0), "cosine")
        return LossTerms(loss, {"student": loss})

    def solve(self, objects: Indices, points: Tensor, target: Tensor) -> None:
        """Refit the ridge regression to what the student learns from."""
        pooled = self.view_features(objects, self.config.validation.views).amax(dim=1)
        regression = RidgeRegression(pooled, self.config.heads.image_penalty)
        assert self.head.ridge is not None
        regression.solve_into(self.head.ridge, target if self.settings.target == "teacher" else points)

    def view_features(self, objects: Indices, views: int) -> Tensor:
        """[objects, V, F] on the CPU."""
        size = self.settings.image_size
        return torch.from_numpy(image_features(self.encoder, self.pack, objects, size, views=views))

    def exported(self, device: torch.device, network: Teacher) -> tuple[Encoder, ImageEncoderCard]:
        """The network under the head's parts."""
        card = ImageEncoderCard(contract=self.contract, backbone=self.settings.backbone, readout=self.readout)
        read = ReadOut(self.encoder.backbone, self.head, self.readout.parts)
        return Encoder(self.contract, read, card.output_shape[0]).to(device), card


def standardised(features: Tensor) -> Tensor:
    """Over the batch, without gradient: raw, their large common part would be all there is to learn."""
    features = features.detach().float()
    return (features - features.mean(dim=0)) / features.std(dim=0).clamp_min(1e-6)
