"""Linear probes of dense features: a segmentation and a depth head over frozen tokens.

As FiT3D evaluates (Yue et al., ECCV 2024, section 4.1; after DINOv2, arXiv 2304.07193, section 7.4):

    segmentation   normalised tokens -> 1 x 1 convolution to classes -> bilinear to the label map's size; cross-entropy
    depth          tokens beside the image's vector -> 1 x 1 convolution to bins -> bilinear, `finer` -> relu + 0.1,
                   normalised over bins -> expectation over depths; scale-invariant log loss + 0.5 gradients

Differences: statistics of all fitted tokens take the place of batch normalisation's, for both heads, so they cannot
depend on the order of batches; heads are fitted at twice as many points as tokens per side (the reference: labels at
every pixel, depth at four times as many); a few hundred AdamW steps, warm-up and linear decay for both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_core.config import Config
from ssl_core.data.scene_pack import VOID
from ssl_core.losses.depth import gradient_loss, gradient_loss_as_released, scale_invariant_log_loss
from ssl_core.models.build import seeded_weights

Loss = Callable[[Tensor, Tensor, float], Tensor]
"""Of a head's output, the views that it is of, and the share of steps done."""
_WARM = 0.1
"""share of the steps whose rate rises from 0; those of depth know no variance"""


class DenseProbeConfig(Config):
    """How both heads are fitted."""

    steps: int = Field(default=300, ge=1)
    batch: int = Field(default=8, ge=1, description="views of a step")
    lr: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    bins: int = Field(default=32, ge=2, le=1024, description="of depth; the reference has 256")
    finer: int = Field(default=2, ge=1, le=8, description="points per token and side that heads are fitted on")
    gradient: float = Field(default=0.5, ge=0, description="weight of the gradient loss of depth")
    released_gradient: bool = Field(
        default=False, description="the gradient loss as released, which is 0 for batches of two images"
    )


@dataclass(frozen=True)
class LinearMap:
    """Tokens [V, C, h, w] -> [V, K, h, w]: less the mean, over the deviation, then a matrix."""

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        standard = (tokens - self.mean[:, None, None]) / self.deviation[:, None, None]
        return F.conv2d(standard, self.weight[:, :, None, None], self.bias)


def with_whole(tokens: Tensor, whole: Tensor) -> Tensor:
    """Tokens [V, C, h, w] beside the image's vectors [V, G] -> [V, C + G, h, w]."""
    return torch.cat((tokens, whole[:, :, None, None].expand(-1, -1, *tokens.shape[2:])), dim=1)


def fit_segmentation(tokens: Tensor, labels: Tensor, classes: int, config: DenseProbeConfig, seed: int) -> LinearMap:
    """Tokens [V, C, h, w] and labels [V, H, W] with VOID, as fine as heads are fitted -> logits of classes."""

    def loss(logits: Tensor, views: Tensor, progress: float) -> Tensor:
        wanted = labels[views]
        if bool((wanted == VOID).all()):
            return logits.sum() * 0
        return F.cross_entropy(_upsampled(logits, (labels.shape[1], labels.shape[2])), wanted, ignore_index=VOID)

    return _fitted(tokens, classes, loss, config, seed)


def segmented(head: LinearMap, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """[V, *size] int64: the likeliest class of each pixel."""
    return _upsampled(head(tokens), size).argmax(dim=1)


@dataclass(frozen=True)
class DepthHead:
    """Tokens [V, C, h, w] -> depth."""

    bins: LinearMap
    depths: Tensor  # [K] of the bins
    finer: int

    def __call__(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """[V, *size]."""
        points = self.finer * tokens.shape[2], self.finer * tokens.shape[3]
        found = _expected(self.bins(tokens), self.depths, points)
        return F.interpolate(found[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def fit_depth(tokens: Tensor, depth: Tensor, config: DenseProbeConfig, seed: int) -> DepthHead:
    """Tokens [V, C, h, w] and depths [V, H, W], 0 where unknown, as fine as heads are fitted. Bins lie between the
    nearest and the farthest."""
    known = depth[depth > 0]
    depths = torch.linspace(float(known.min()), float(known.max()), config.bins)
    gradients = gradient_loss_as_released if config.released_gradient else gradient_loss

    def loss(bins: Tensor, views: Tensor, progress: float) -> Tensor:
        truth = depth[views]
        predicted = _expected(bins, depths, (depth.shape[1], depth.shape[2]))
        total = scale_invariant_log_loss(predicted, truth, warm=progress < _WARM)
        return total + config.gradient * gradients(predicted, truth) if config.gradient else total

    return DepthHead(_fitted(tokens, config.bins, loss, config, seed), depths, config.finer)


def _expected(bins: Tensor, depths: Tensor, size: tuple[int, int]) -> Tensor:
    weights = F.relu(_upsampled(bins, size)) + 0.1
    return torch.einsum("vkhw,k->vhw", weights / weights.sum(dim=1, keepdim=True), depths)


def _upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _fitted(tokens: Tensor, outputs: int, loss: Loss, config: DenseProbeConfig, seed: int) -> LinearMap:
    """AdamW on batches of views; every draw is the seed's."""
    deviation, mean = torch.std_mean(tokens, dim=(0, 2, 3))
    deviation = torch.where(deviation > 1e-6, deviation, torch.inf)  # what never moves says nothing
    standard = (tokens - mean[:, None, None]) / deviation[:, None, None]
    with seeded_weights(seed):
        layer = nn.Conv2d(tokens.shape[1], outputs, 1)
    assert layer.bias is not None
    optimiser = torch.optim.AdamW(layer.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    count = min(config.batch, len(tokens))
    for step in range(config.steps):
        if len(order) < count:
            order = torch.cat((order, torch.randperm(len(tokens), generator=generator)))
        views, order = order[:count], order[count:]
        progress = step / config.steps
        for group in optimiser.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / (_WARM * config.steps)) * (1 - progress)
        optimiser.zero_grad(set_to_none=True)
        loss(layer(standard[views]), views, progress).backward()
        optimiser.step()
    return LinearMap(mean, deviation, layer.weight.detach()[:, :, 0, 0], layer.bias.detach())
