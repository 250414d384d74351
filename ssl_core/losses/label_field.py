"""Losses of a blended map of class scores against the label map of a teacher.

With Z = sum of weights x scores over a pixel's Gaussians [H, W, C] and y its label, pixels of label 255 (void) aside:

    ce_on_softmax          CE(softmax(Z), y): Label-3DGS as released, whose loss function applies a softmax to what
                           already is one. Between log(e + C - 1) - 1 and that plus 1: bounded, so it tolerates wrong
                           labels, and never zero
    ce_logits              CE(Z, y)
    nll_of_blended_probs   -log(sum of weights x softmax(scores) / sum of weights)_y: Z holds blended probabilities
    focal                  (1 - p_y)^gamma CE(Z, y); Lin et al. 2017, "Focal Loss for Dense Object Detection"
"""

import math
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

LabelLossKind = Literal["ce_on_softmax", "ce_logits", "nll_of_blended_probs", "focal"]
IGNORED = 255
_LEAST = 1e-6
"""Probability and coverage below which a logarithm or a quotient would explode."""


def label_loss(
    kind: LabelLossKind,
    blended: Tensor,
    coverage: Tensor,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    gamma: float = 2.0,
) -> Tensor:
    """Mean over the pixels that have a label; zero, with a gradient of zeros, where none has one.

    Args:
        blended: [..., C] class scores, or probabilities for `nll_of_blended_probs`.
        coverage: [...] sums of weights, which `nll_of_blended_probs` divides by.
        labels: [...] integers below C, 255 for void.
        smoothing: share of the target that all classes have alike (Szegedy et al. 2016).
        class_weights: [C] factors on pixels of each class; the mean is over their sum.
        gamma: of `focal`.
    """
    counted = labels != IGNORED
    scores, wanted = blended[counted], labels[counted].long()
    if not len(wanted):
        return (blended * 0).sum()
    weights = torch.ones_like(scores[:, 0]) if class_weights is None else class_weights[wanted]
    match kind:
        case "ce_on_softmax":
            each = F.cross_entropy(scores.softmax(-1), wanted, reduction="none", label_smoothing=smoothing)
        case "ce_logits":
            each = F.cross_entropy(scores, wanted, reduction="none", label_smoothing=smoothing)
        case "nll_of_blended_probs":
            seen = coverage[counted]
            logs = (scores / seen.clamp_min(_LEAST)[:, None]).clamp_min(_LEAST).log()
            each = F.nll_loss(logs, wanted, reduction="none")
            each = (1 - smoothing) * each - smoothing * logs.mean(-1)
            weights = torch.where(seen > _LEAST, weights, 0.0)
        case "focal":
            plain = F.cross_entropy(scores, wanted, reduction="none", label_smoothing=smoothing)
            right = scores.softmax(-1).gather(1, wanted[:, None])[:, 0]
            each = (1 - right) ** gamma * plain
        case _:
            assert_never(kind)
    return (each * weights).sum() / weights.sum().clamp_min(_LEAST)


def floor_of_shipped_loss(classes: int) -> float:
    """Least value of `ce_on_softmax`: that of a perfect prediction."""
    return math.log(math.e + classes - 1) - 1


def class_balance(counts: Tensor) -> Tensor:
    """[C] pixels of each class -> factors inverse to their frequency, of mean 1 over the pixels; absent classes 0."""
    counts = counts.double()
    present = counts > 0
    factors = torch.where(present, counts.sum() / (present.sum() * counts.clamp_min(1)), 0.0)
    return factors.float()
