"""How a small vision transformer of our own learns from the training scenes, without their labels.

`masked_patches`: masked patches are filled in from the others (SimMIM: Xie et al., CVPR 2022, arXiv 2111.09886, with
the loss over masked patches alone). `teacher`: tokens tell the map of EfficientNet-Lite0 on the same crop, channel by
channel at mean 0 and deviation 1. Some hundred pictures are too few for the first to give tokens that a linear probe
reads anything in; the second takes what ImageNet's labels taught.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_core.data.augment import crop_and_resize, draw_crops
from ssl_core.errors import DivergedError
from ssl_core.models.build import seeded_weights
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.dense_maps import encoder_network, map_of
from ssl_core.models.dense_sources import OwnVitSource
from ssl_core.models.teachers import PackagedTeacher, build_teacher
from ssl_core.training.config import CosineSchedule, learning_rate_factor
from ssl_core.training.stage_progress import tell_stage

_TEACHER_STRIDES = (8, 16)
_SMALLEST_CROP = 0.35
"""share of the picture's area"""


def pretrain(source: OwnVitSource, encoder: DenseEncoder, pictures: Tensor, device: torch.device) -> None:
    """Train an encoder's original network in place.

    Args:
        pictures: [n, 3, H, W] in [0, 1].

    Raises:
        DivergedError: the loss is not finite.
        MissingDependencyError: a teacher is asked for and the extra `teachers` is not installed.
    """
    encoder.to(device)
    with seeded_weights(source.seed):
        task = _task(source, encoder).to(device)
    optimiser = torch.optim.AdamW(
        [weight for weight in task.parameters() if weight.requires_grad], lr=source.lr, weight_decay=0.05
    )
    generator = torch.Generator().manual_seed(source.seed)
    for step in range(source.steps):
        tell_stage(step, source.steps, "steps of pretraining")
        for group in optimiser.param_groups:
            group["lr"] = source.lr * learning_rate_factor(CosineSchedule(), step, source.steps)
        some = pictures[torch.randint(len(pictures), (source.batch,), generator=generator)]
        loss = task(_cropped(some, generator).to(device), generator)
        if not torch.isfinite(loss):
            raise DivergedError(f"pretraining's loss is {loss.item()} at step {step}; lower backbone.lr")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimiser.step()


def _task(source: OwnVitSource, encoder: DenseEncoder) -> nn.Module:
    match source.learns:
        case "masked_patches":
            return MaskedPatches(encoder, source.patch, source.channels, source.masked)
        case "teacher":
            return TaughtTokens(encoder, source.channels)


def _cropped(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops [B, 3, H, W], each of its own size, place and side."""
    height, width = pictures.shape[2:]
    square = crop_and_resize(pictures, draw_crops(len(pictures), _SMALLEST_CROP, generator), max(height, width))
    if height == width:
        return square
    return F.interpolate(square, (height, width), mode="bilinear", antialias=True, align_corners=False)


class MaskedPatches(nn.Module):
    """Mean absolute error of the pixels of masked patches, each patch brought to mean 0 and deviation 1."""

    def __init__(self, encoder: DenseEncoder, patch: int, channels: int, share: float) -> None:
        super().__init__()
        network: Any = encoder.original.network
        self.encoder, self.patch, self.share = encoder, patch, share
        self.count: int = network.patch_embed.num_patches
        self.token = nn.Parameter(torch.zeros(channels))
        self.decoder = nn.Linear(channels, 3 * patch * patch)

    def forward(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1]; which patches are masked is drawn."""
        drawn = torch.rand(len(pictures), self.count, generator=generator) < self.share
        return self.error(self.encoder.normalised(pictures), drawn.to(pictures.device))

    def error(self, images: Tensor, masked: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], which of their patches are masked [B, N]."""
        network: Any = self.encoder.original.network
        seen = torch.where(masked[..., None], self.token, network.patch_embed(images))
        x = network.norm(network.blocks(network.norm_pre(network._pos_embed(seen))))
        told = self.decoder(x[:, network.num_prefix_tokens :])
        wanted = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        spread, mean = torch.std_mean(wanted, dim=2, keepdim=True)
        error = (told - (wanted - mean) / (spread + 1e-3)).abs().mean(dim=2)
        loss: Tensor = (error * masked).sum() / masked.sum().clamp_min(1)
        return loss


class TaughtTokens(nn.Module):
    """Mean squared error of the teacher's maps, told by one linear layer over the tokens."""

    def __init__(self, encoder: DenseEncoder, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.teacher = encoder_network(build_teacher(PackagedTeacher()))
        with torch.inference_mode():
            dims = [self._map(torch.zeros(1, 3, 64, 64), stride).shape[1] for stride in _TEACHER_STRIDES]
        self.decoders = nn.ModuleList(nn.Linear(channels, dim) for dim in dims)

    def forward(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1]."""
        del generator
        images = self.encoder.normalised(pictures)
        tokens, _ = self.encoder.original(images)
        found = pictures.new_zeros(())
        for stride, decoder in zip(_TEACHER_STRIDES, self.decoders, strict=True):
            with torch.no_grad():
                wanted = self._map(images, stride)
                spread, mean = torch.std_mean(wanted, dim=(0, 2, 3), keepdim=True)
                wanted = (wanted - mean) / (spread + 1e-3)
            told = decoder(tokens.movedim(1, -1)).movedim(-1, 1)
            told = F.interpolate(told, wanted.shape[2:], mode="bilinear", antialias=True, align_corners=False)
            found = found + F.mse_loss(told, wanted)
        return found

    def _map(self, images: Tensor, stride: int) -> Tensor:
        return map_of(self.teacher, stride)(images)
