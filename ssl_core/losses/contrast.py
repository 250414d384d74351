"""Losses of agreement between two descriptions of the same objects, and of one network with a frozen one."""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

GlobalLoss = Literal["cosine", "mse", "nce"]


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised, temperature-scaled cross-entropy (Chen et al. 2020, SimCLR, equation 1).

    Row i of `first` and of `second`, both [..., B, F], describe the same thing; every other row of either is a
    negative. Leading axes are sets of their own, whose rows are not compared with each other. At random features it is
    about ln(2 B - 1).

    Returns:
        scalar, the mean over all 2 B rows of all sets.
    """
    stacked = F.normalize(torch.cat([first, second], dim=-2), dim=-1)
    rows = stacked.shape[-2]
    similarity = stacked @ stacked.mT / temperature
    own = torch.eye(rows, dtype=torch.bool, device=stacked.device)
    similarity = similarity.masked_fill(own, float("-inf"))
    partner = torch.arange(rows, device=stacked.device).roll(rows // 2)
    return F.cross_entropy(similarity.reshape(-1, rows), partner.repeat(similarity.shape[:-2].numel()))


def global_distillation(predicted: Tensor, target: Tensor, kind: GlobalLoss, temperature: float = 0.1) -> Tensor:
    """How far predictions [B, F] are from a frozen network's features [B, F]; no gradient reaches these.

    cosine: 1 - cos. mse: mean square over all B F numbers (Tran et al. 2022, §3.2, neither side normalised). nce:
    cross-entropy of telling an object's own target from those of the batch (van den Oord et al. 2018).
    """
    target = target.detach()
    match kind:
        case "cosine":
            return (1 - F.cosine_similarity(predicted, target, dim=-1)).mean()
        case "mse":
            return F.mse_loss(predicted, target)
        case "nce":
            logits = F.normalize(predicted, dim=-1) @ F.normalize(target, dim=-1).T / temperature
            return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
        case _:
            assert_never(kind)
