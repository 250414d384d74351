"""Losses between a rendered mask and an object's silhouette, and between poses, of Navaneet et al. (CVPR 2020,
section 3.2), as intended and as released (README.md of the recipe `image_to_points` names each difference).
"""

import math
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from ssl_core.losses.chamfer import nearest, picked

MaskLoss = Literal["bce_prob", "bce_logit", "l1", "dice"]
"""`bce_logit` takes the mask, which is in [0, 1), for a logit, as released: never below log 2 on background."""
RELEASED_AFFINITY = 1e6
"""What the release adds for a pixel that the other mask lacks."""
LEAST = 1e-4
"""Masks are kept this far from 0 and 1 under a logarithm."""


def mask_loss(predicted: Tensor, target: Tensor, kind: MaskLoss) -> Tensor:
    """Masks [B, S, S] in [0, 1] -> [B], the mean over pixels (`dice`: one number of the picture)."""
    match kind:
        case "bce_prob":
            kept = predicted.clamp(LEAST, 1 - LEAST)
            return functional.binary_cross_entropy(kept, target, reduction="none").mean(dim=(1, 2))
        case "bce_logit":
            return functional.binary_cross_entropy_with_logits(predicted, target, reduction="none").mean(dim=(1, 2))
        case "l1":
            return (predicted - target).abs().mean(dim=(1, 2))
        case "dice":
            both, either = (predicted * target).sum(dim=(1, 2)), (predicted + target).sum(dim=(1, 2))
            return 1 - (2 * both + 1) / (either + 1)
        case _:
            assert_never(kind)


def released_affinity(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward "affinity" of the release, masks [B, S, S] -> [B] each.

    Both masks were tiled over one pixel index, so that the nearest pixel is always the pixel itself: with the weight
    1e-4 their sum is 100 times the mean absolute difference, as long as the target is 0 or 1.
    """
    forward = predicted * (target + RELEASED_AFFINITY * (1 - target))
    backward = target * (predicted + RELEASED_AFFINITY * (1 - predicted))
    return forward.mean(dim=(1, 2)), backward.mean(dim=(1, 2))


def chamfer_2d(
    rows: Tensor,
    cols: Tensor,
    target: Tensor,
    *,
    squared: bool = False,
    coverage: float = 1.0,
    threshold: float = 0.5,
) -> Tensor:
    """How far projected points lie from the silhouette and the silhouette from them, as a share of the picture's side.

    The affinity as intended, taken between points and pixels rather than between two masks: the mean distance of a
    point to the nearest pixel of the silhouette, and of such a pixel to the nearest point; unlike every loss between
    masks it has a gradient however far apart they are.

    Args:
        rows, cols: [B, N] of the projected points, pixel centres at whole numbers.
        target: [B, S, S] silhouettes. An empty one counts nothing.
        squared: whether distances are squared, as those of clouds: what is far counts more.
        coverage: weight of the silhouette's distances from the points, in [0, 2]; that of the points' is 2 less it.
        threshold: a pixel belongs to the silhouette above it.

    Returns:
        [B].
    """
    size, points = target.shape[-1], torch.stack((rows, cols), dim=-1)
    pixels, covered = _covered_pixels(target > threshold, points.dtype)
    to_pixel, to_point = nearest(points, pixels)
    there, back = points - picked(pixels, to_pixel), pixels - picked(points, to_point)
    count = covered.sum(dim=1)
    # lengths are a share of the side, and squares of it squared
    there, back = (v.square().sum(-1) / size if squared else _length(v) for v in (there, back))
    back = torch.where(covered, back, 0.0).sum(dim=1) / count.clamp_min(1)
    both = (2 - coverage) * there.mean(dim=1) + coverage * back
    return torch.where(count > 0, both, 0.0) / size


def _covered_pixels(inside: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Of silhouettes [B, S, S] bool: row and column [B, W, 2] of what is covered, as many of each as of the largest,
    and which of them count [B, W]; a smaller one's first is repeated, which is nobody's only nearest."""
    white = inside.flatten(1)
    most = max(1, int(white.sum(dim=1).max()))
    covered, place = white.byte().sort(dim=1, descending=True, stable=True)
    covered = covered[:, :most].bool()
    place = torch.where(covered, place[:, :most], place[:, :1])
    size = inside.shape[-1]
    return torch.stack((place // size, place % size), dim=-1).to(dtype), covered


def _length(vectors: Tensor) -> Tensor:
    """The gradient at length 0 is 0, not infinite."""
    squared = vectors.square().sum(-1)
    safe = torch.where(squared > 0, squared, 1.0)
    return torch.where(squared > 0, safe.sqrt(), 0.0)


def mask_iou(predicted: Tensor, target: Tensor, threshold: float = 0.5) -> Tensor:
    """Intersection over union of masks [B, S, S] -> [B]; two empty ones agree."""
    ours, theirs = predicted > threshold, target > 0.5
    either = (ours | theirs).sum(dim=(1, 2))
    return torch.where(either > 0, (ours & theirs).sum(dim=(1, 2)) / either.clamp_min(1), 1.0)


def angle_distance(ours: Tensor, theirs: Tensor, *, wrapped: bool = True) -> Tensor:
    """Mean absolute difference of angles [B, 2] in radians -> [B].

    Angles just left and right of half a turn are near each other; not `wrapped`, as released, they are a turn apart.
    """
    difference = ours - theirs
    if wrapped:
        difference = torch.remainder(difference + math.pi, 2 * math.pi) - math.pi
    return difference.abs().mean(dim=-1)
