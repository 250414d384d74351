"""What the channels of Gaussians stand for in each variant: how they are blended, what they learn from, what they begin
as."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.losses.label_field import IGNORED, class_balance, label_loss
from ssl_core.models.build import seeded_weights
from ssl_core.models.gaussian_field import LEAST_COVERAGE, Activation
from ssl_core.recipes.label_3dgs.config import FeatureVariant, Label3dgsConfig, LabelVariant, VoteVariant
from ssl_core.render.lift import lift_features
from ssl_core.render.scene_fit import ChannelLoss, Fit
from ssl_core.scenes.cameras import Camera

PRIOR = 1.0
"""Pixels of evenly spread votes that are added to a Gaussian's: what is hardly seen stays undecided."""


class FieldChannels:
    """Channels of one trial's Gaussians, for labels of `classes` classes.

    `labels` are the teacher's maps of the training views, [H, W] uint8 each, 255 where it says nothing.
    """

    def __init__(
        self,
        config: Label3dgsConfig,
        labels: Sequence[NDArray[np.uint8]],
        classes: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.config, self.classes = config, classes
        self._labels = [torch.from_numpy(np.array(each)).to(device) for each in labels]
        self.decoder: nn.Linear | None = None
        self.embeddings: Tensor | None = None
        self.loss: ChannelLoss | None = None
        variant = config.variant
        match variant:
            case LabelVariant():
                self.count, self.loss = classes, self._of_labels
            case VoteVariant():
                self.count = classes
            case FeatureVariant():
                self.count, self.loss = variant.channels, self._of_features
                generator = torch.Generator().manual_seed(variant.seed)
                random = torch.randn(classes, variant.embedding, generator=generator)
                self.embeddings = F.normalize(random, dim=1).to(device)
                if variant.speed_up:
                    with seeded_weights(seed):
                        self.decoder = nn.Linear(variant.channels, variant.embedding).to(device)
            case _:
                assert_never(variant)
        self._weights = self._class_weights()

    @property
    def activation(self) -> Activation:
        """Of the channels before they are blended."""
        chosen = self.config.loss.kind == "nll_of_blended_probs" and isinstance(self.config.variant, LabelVariant)
        return "softmax" if chosen else "none"

    @property
    def normalised(self) -> bool:
        """Whether what was blended is divided by coverage."""
        return self.config.loss.normalise_alpha or self.activation == "softmax"

    def blended(self, channels: Tensor) -> Tensor:
        """[N, d] as they are blended; a column of ones last, which becomes coverage, where that is divided by."""
        active = channels.softmax(1) if self.activation == "softmax" else channels
        return torch.cat((active, torch.ones_like(active[:, :1])), dim=1) if self.normalised else active

    def begin(self, fit: Fit, cameras: Sequence[Camera]) -> None:
        """Give the channels of a fresh fit their first values."""
        match self.config.variant:
            case LabelVariant(start="teacher_vote"):
                votes, weight = self._votes(fit, cameras)
                shares = (votes * weight[:, None] + PRIOR / self.classes) / (weight[:, None] + PRIOR)
                with torch.no_grad():
                    fit.channels.copy_(shares.log())
            case _:
                pass

    def vote(self, fit: Fit, cameras: Sequence[Camera]) -> None:
        """Give the channels what the labels vote for, where the variant is that."""
        match self.config.variant:
            case VoteVariant():
                shares, _ = self._votes(fit, cameras)
                with torch.no_grad():
                    fit.channels.copy_(shares)
            case _:
                pass

    def _votes(self, fit: Fit, cameras: Sequence[Camera]) -> tuple[Tensor, Tensor]:
        """[N, C] shares of each class among the labels that a Gaussian is seen in, and its pixels [N]."""

        def one_hot(view: int) -> Tensor:
            labels = self._labels[view].long()
            known = F.one_hot(labels.clamp_max(self.classes - 1), self.classes).float()
            return known.where((labels != IGNORED)[..., None], torch.nan)

        return lift_features(fit.gaussians(), cameras, one_hot, near=self.config.fit.near)

    def _of_labels(self, view: int, drawn: Tensor) -> Tensor:
        settings = self.config.loss
        scores, coverage = self._parted(drawn)
        if settings.normalise_alpha:
            scores = scores / coverage.clamp_min(LEAST_COVERAGE)[..., None]
        loss = label_loss(
            settings.kind,
            scores,
            coverage,
            self._labels[view],
            smoothing=settings.smoothing,
            class_weights=self._weights,
            gamma=settings.gamma,
        )
        return settings.weight * loss

    def _of_features(self, view: int, drawn: Tensor) -> Tensor:
        """Mean absolute difference of decoded channels and the teacher's features: Feature 3DGS, equation 6."""
        variant, labels = self.config.variant, self._labels[view]
        assert isinstance(variant, FeatureVariant)
        assert self.embeddings is not None
        features, coverage = self._parted(drawn)
        if self.normalised:
            features = features / coverage.clamp_min(LEAST_COVERAGE)[..., None]
        if self.decoder is not None:
            features = self.decoder(features)
        counted = labels != IGNORED
        if not counted.any():
            return (features * 0).sum()
        generator = torch.Generator().manual_seed(variant.seed + 1 + view)
        noise = torch.randn((*labels.shape, variant.embedding), generator=generator).to(drawn)
        wanted = self.embeddings[labels.long().clamp_max(self.classes - 1)] + variant.noise * noise
        return self.config.loss.feature_weight * (features - wanted)[counted].abs().mean()

    def _parted(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Channels [H, W, d] and coverage [H, W] of what was drawn; ones where coverage was not."""
        if self.normalised:
            return drawn[..., :-1], drawn[..., -1]
        return drawn, torch.ones_like(drawn[..., 0])

    def _class_weights(self) -> Tensor | None:
        if self.config.loss.class_balance == "none":
            return None
        counts = sum(torch.bincount(each.flatten().long(), minlength=256)[: self.classes] for each in self._labels)
        assert isinstance(counts, Tensor)
        return class_balance(counts)
