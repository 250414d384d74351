"""The network that a trial begins at, frozen. A small vision transformer of our own is trained here first, without
labels, on the training scenes: masked patches are filled in from the others (SimMIM: Xie et al., CVPR 2022, arXiv
2111.09886, with the loss over masked patches alone). Made once per pack and settings, beside the stages' folders:

    <root>/fit3d-vit-<digest>/network.safetensors
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.config import short_digest
from ssl_core.data.scene_pack import ScenePack
from ssl_core.errors import DivergedError, InfeasibleError
from ssl_core.evaluation.dense_data import picture_batch, views_of
from ssl_core.files.whole import derived_folder
from ssl_core.models.build import seeded_weights
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.dense_sources import DenseSource, OwnVitSource, load_source, multiple_of, source_card
from ssl_core.training.config import CosineSchedule, learning_rate_factor

_VERSION = 1
"""of the pretraining: raised when the same settings give another network"""
_FILE = "network.safetensors"


def input_size(source: DenseSource, pack: ScenePack, side: int) -> tuple[int, int]:
    """(H, W) of pictures: the first view's proportions, the longer side about `side`, multiples of the patch."""
    m, view = multiple_of(source), pack.manifest.views[0]
    factor = side / max(view.height, view.width)
    height, width = (m * max(1, round(factor * length / m)) for length in (view.height, view.width))
    return height, width


def original_network(
    source: DenseSource, pack: ScenePack, side: int, root: Path, device: torch.device
) -> tuple[DenseEncoder, DenseEncoderCard]:
    """In evaluation mode; no parameter asks for a gradient. `root` is where the stages' folders lie.

    Raises ConfigError, RegistryError, MissingDependencyError: as `load_source`.
    """
    card = source_card(source, input_size(source, pack, side))
    encoder = card.build(source.seed if isinstance(source, OwnVitSource) else 0)
    made = None
    if isinstance(source, OwnVitSource) and source.steps:
        facts = [_VERSION, source.to_json(), card.height, card.width, pack.digest]
        make = partial(_pretrain, source, card, pack, device)
        made = derived_folder(root, f"fit3d-vit-{short_digest(json.dumps(facts))}", make) / _FILE
    load_source(source, encoder, made)
    return encoder.to(device).eval().requires_grad_(False), card


def _pretrain(
    source: OwnVitSource, card: DenseEncoderCard, pack: ScenePack, device: torch.device, folder: Path
) -> None:
    views = views_of(pack, "train")
    if len(views) == 0:
        raise InfeasibleError(f"{pack.path} has no training views to train a network on; pack scenes for training")
    encoder = card.build(source.seed)
    images = encoder.normalised(picture_batch(pack, views, (card.height, card.width))).to(device)
    with seeded_weights(source.seed):
        model = MaskedPatches(encoder.original.network, source.patch, source.channels).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=source.lr, weight_decay=0.05)
    rng = np.random.default_rng(source.seed)
    for step in range(source.steps):
        for group in optimiser.param_groups:
            group["lr"] = source.lr * learning_rate_factor(CosineSchedule(), step, source.steps)
        some = images[rng.integers(0, len(images), size=source.batch)]
        some = some.flip(-1) if rng.random() < 0.5 else some
        loss = model(some, torch.from_numpy(rng.random((len(some), model.count)) < source.masked).to(device))
        if not torch.isfinite(loss):
            raise DivergedError(f"pretraining's loss is {loss.item()} at step {step}; lower backbone.lr")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    safetensors.torch.save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()},
        folder / _FILE,
    )


class MaskedPatches(nn.Module):
    """Mean absolute error of the pixels of masked patches, each patch brought to mean 0 and deviation 1."""

    def __init__(self, network: Any, patch: int, channels: int) -> None:
        super().__init__()
        self.network, self.patch = network, patch
        self.count: int = network.patch_embed.num_patches
        self.token = nn.Parameter(torch.zeros(channels))
        self.decoder = nn.Linear(channels, 3 * patch * patch)

    def forward(self, images: Tensor, masked: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], which of their patches are masked [B, N]."""
        network = self.network
        seen = torch.where(masked[..., None], self.token, network.patch_embed(images))
        x = network.norm(network.blocks(network.norm_pre(network._pos_embed(seen))))
        told = self.decoder(x[:, network.num_prefix_tokens :])
        wanted = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        spread, mean = torch.std_mean(wanted, dim=2, keepdim=True)
        error = (told - (wanted - mean) / (spread + 1e-3)).abs().mean(dim=2)
        loss: Tensor = (error * masked).sum() / masked.sum().clamp_min(1)
        return loss
