"""Losses of cross-modal learning (Jing, Zhang & Tian, "Self-supervised Feature Learning by Cross-modality and
Cross-view Correspondences", CVPR Workshops 2021, arXiv 2004.05749; on Gaussian splats: A. Simionescu, TU Delft 2024).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

PRIOR_CROSS_ENTROPY = -3 * (2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
"""1.9095: summed cross-entropy of the three pairs for the constant predictor with the true 2:1 prior."""

CONSTANT_ACCURACY = 2 / 3
"""Matching accuracy of predicting "same object" always."""


def pair_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of rows: [B, F], [B, F] -> [B]. The gradient at distance 0 is 0, not NaN."""
    squared = (a - b).square().sum(dim=-1)
    safe = torch.where(squared > 0, squared, torch.ones_like(squared))
    return torch.where(squared > 0, safe.sqrt(), torch.zeros_like(squared))


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean of max(0, |a - p| - |a - n| + margin) over rows [B, F]: scalar. Zero once every negative is far enough."""
    return functional.relu(pair_distance(anchor, positive) - pair_distance(anchor, negative) + margin).mean()


def matching_cross_entropy(logits: Tensor, matches: Tensor) -> Tensor:
    """Sum over the three pairs of the mean binary cross-entropy.

    Args:
        logits: [3, B, 2] fusion outputs of (image 1, points), (image 2, points), (image 3, points).
        matches: [3] class of each pair, 1 = same object: (1, 1, 0).

    Returns:
        Scalar; `PRIOR_CROSS_ENTROPY` for a predictor that knows only the prior.
    """
    pairs, batch, _ = logits.shape
    target = matches.to(logits.device)[:, None].expand(pairs, batch)
    return functional.cross_entropy(logits.reshape(-1, 2), target.reshape(-1), reduction="sum") / batch


def matching_accuracy(logits: Tensor, matches: Tensor) -> Tensor:
    """Share of the 3B decisions that are right: logits [3, B, 2], matches [3] -> scalar in [0, 1]."""
    return (logits.argmax(dim=-1) == matches.to(logits.device)[:, None]).float().mean()
