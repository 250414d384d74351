"""Distances of feature maps at tokens that count by their weight (FiT3D, Yue et al., ECCV 2024, equation 6)."""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

MapLoss = Literal["l1", "l2", "cosine"]


def masked_map_loss(told: Tensor, target: Tensor, weight: Tensor, kind: MapLoss) -> Tensor:
    """Sum of weight x distance over sum of weights, a distance being a mean over channels; 0 where nothing counts.

    Args:
        told, target: [B, D, h, w].
        weight: [B, h, w], at least 0; a token of weight 0 has no gradient, whatever its target.
    """
    match kind:
        case "l1":
            distance = (told - target).abs().mean(dim=1)
        case "l2":
            distance = (told - target).square().mean(dim=1)
        case "cosine":
            distance = 1 - F.cosine_similarity(told, target, dim=1)
        case _:
            assert_never(kind)
    counted = torch.where(weight > 0, distance, 0)
    return (weight * counted).sum() / weight.sum().clamp_min(1e-6)
