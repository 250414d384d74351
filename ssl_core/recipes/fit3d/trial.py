"""A network is fine-tuned to the features that are rendered from a scene's Gaussians. One trial, on one device.

A batch holds `images` [B, 3, H, W] float32 in [0, 1], `targets` [B, D, h, w] and `weights` [B, h, w], pictures and
targets mirrored together. Everything random follows from (seed, epoch). Labels and depth of the pack are read for
validation alone, test scenes never.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import nn

from ssl_core.data.batches import batches_of
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.dense_data import picture_batch, views_of
from ssl_core.losses.feature_maps import masked_map_loss
from ssl_core.models.build import seeded_weights
from ssl_core.models.cards import Card
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder, FineHead, FineNetwork, FineTokens, fine_tokens
from ssl_core.models.dense_networks import DenseNetwork
from ssl_core.recipes.fit3d.config import Fit3dConfig
from ssl_core.recipes.fit3d.lift_stage import LiftTargets
from ssl_core.recipes.fit3d.validation_scenes import ValidationScenes
from ssl_core.training.contract import Batch, LossTerms, ParameterGroup
from ssl_core.training.loop import prefetched


def check(config: Fit3dConfig, pack: ScenePack) -> None:
    """Raises InfeasibleError when the pack cannot serve the config. Cheap: no pixel is read."""
    train, val = (views_of(pack, split) for split in ("train", "val"))
    if len(train) < 2 or len(val) < 2:
        raise InfeasibleError(
            f"the pack has {len(train)} training and {len(val)} validation views, and at least 2 of each are needed; "
            "pack scenes for both, or one scene with more views"
        )
    if not pack.classes and all(pack.depth(view) is None for view in val.tolist()):
        raise InfeasibleError(
            f"{pack.path} has neither labels nor depth, without which trials cannot be compared; pack scenes with one"
        )
    scenes = len(pack.scenes_of("train")) + len(pack.scenes_of("val"))
    if config.lift.target == "wrong_scene" and scenes < 2:
        raise InfeasibleError("lift.target=wrong_scene needs several scenes; pack more, or set it to lift")


class Fit3dTrial:
    """One trial on one device. Raises InfeasibleError when the pack cannot serve the config."""

    def __init__(
        self,
        config: Fit3dConfig,
        pack: ScenePack,
        lifted: LiftTargets,
        original: tuple[DenseEncoder, DenseEncoderCard],
        seed: int,
        device: torch.device,
    ) -> None:
        check(config, pack)
        self.config, self.pack, self.seed, self.device = config, pack, seed, device
        self.lifted, (self.original, card) = lifted, original
        self.views = views_of(pack, "train")
        self.batch_size = min(config.training.batch_size, len(self.views))
        self.steps_per_epoch = len(self.views) // self.batch_size
        tuning = config.tuning.kind
        with seeded_weights(seed):
            self.fine = fine_tokens(tuning, self.original.original, card.backbone.channels).to(device)
        self._trained = trained_parameters(self.fine, config)
        self.module: nn.Module = self.fine
        self.size = card.height, card.width
        self._cards = {
            "dense": card.model_copy(update={"tuning": tuning, "assembly": config.assembly}),
            "fine": card.model_copy(update={"tuning": tuning, "assembly": "fine"}),
        }
        self._models = {
            name: DenseEncoder((each.mean, each.std), self.original.original, self.fine, each.assembly).to(device)
            for name, each in self._cards.items()
        }
        self.held_out = ValidationScenes(config, pack, card, lifted)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Each training view once, in random order; the rest of the last batch is left out."""
        yield from prefetched(self._gathered(epoch), self.device)

    def samples(self, batch: Batch) -> int:
        """Views."""
        return len(batch["images"])

    def losses(self, batch: Batch) -> Mapping[str, LossTerms]:
        """Of the fine-tuned tokens to the rendered ones."""
        inputs = self.original.normalised(batch["images"])
        with torch.no_grad():  # only a head reads them
            tokens = self.original.original(inputs)[0] if isinstance(self.fine, FineHead) else batch["targets"]
        told = self.fine(inputs, tokens)
        loss = masked_map_loss(told.float(), batch["targets"], batch["weights"], self.config.tuning.loss)
        return {"fine": LossTerms(loss, {})}

    def parameters(self) -> Mapping[str, tuple[ParameterGroup, ...]]:
        """One optimiser, of what `tuning.trainable` names."""
        return {"fine": (ParameterGroup(self._trained),)}

    def validate(self) -> dict[str, float]:
        """On validation scenes."""
        return self.held_out.metrics(self._models["dense"])

    def models(self) -> Mapping[str, tuple[nn.Module, Card]]:
        """Original and fine-tuned tokens together, and the latter alone."""
        return {name: (model, self._cards[name]) for name, model in self._models.items()}

    def _gathered(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.seed, 1, epoch])
        for some in batches_of(self.views, self.batch_size, rng):
            images = picture_batch(self.pack, some, self.size)
            targets, weights = self.lifted.of_views(some)
            mirrored = torch.from_numpy(rng.random(len(some)) < self.config.tuning.hflip)
            yield {
                "images": torch.where(mirrored[:, None, None, None], images.flip(-1), images),
                "targets": torch.where(mirrored[:, None, None, None], targets.flip(-1), targets),
                "weights": torch.where(mirrored[:, None, None], weights.flip(-1), weights),
            }


def trained_parameters(fine: FineTokens, config: Fit3dConfig) -> tuple[nn.Parameter, ...]:
    """What gradients move; the others are told so."""
    match config.tuning.trainable:
        case "last_k":
            assert isinstance(fine, FineNetwork)
            blocks = fine.network.blocks()[-config.tuning.last_k :]
            wanted = {id(p) for block in blocks for p in block.parameters()}
            wanted |= {id(p) for p in _after(fine.network)}
        case "lora":
            names = ("up", "down")
            wanted = {id(p) for name, p in fine.named_parameters() if name.rpartition(".")[2] in names}
        case _:
            wanted = {id(p) for p in fine.parameters()}
    for parameter in fine.parameters():
        parameter.requires_grad_(id(parameter) in wanted)
    return tuple(p for p in fine.parameters() if p.requires_grad)


def _after(network: DenseNetwork) -> Iterator[nn.Parameter]:
    """Of a transformer's final normalisation."""
    norm = getattr(network.network, "norm", None)
    if isinstance(norm, nn.Module):
        yield from norm.parameters()
