"""Stored views lie over white; networks whose pictures are drawn over black read them without it."""

from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.contracts import Background
from ssl_core.data.object_pack import Pack
from ssl_core.errors import InfeasibleError


def views_over(pack: Pack, places: NDArray[np.int64], background: Background) -> Tensor:
    """uint8 [n, 3, S, S] of rows of `pack.views`, over the background. Raises InfeasibleError: see `check_masks`."""
    stored = torch.from_numpy(pack.views[places])
    match background:
        case "white":
            return stored
        case "black":
            return over_black(stored, torch.from_numpy(check_masks(pack)[places]))
        case _:
            assert_never(background)


def check_masks(pack: Pack) -> NDArray[np.uint8]:
    """[views, S, S] the masks of a pack. Raises InfeasibleError: it has none."""
    masks = pack.masks
    if masks is None:
        raise InfeasibleError(
            f"pack {pack.path} has no masks, without which views cannot be laid over black; pack images with "
            "transparency or masks, or meshes, whose views bring their own"
        )
    return masks


def over_black(views: Tensor, masks: Tensor) -> Tensor:
    """uint8 [n, 3, S, S] over white and how much is covered, uint8 [n, S, S]: the same over black.

    White shone through with 255 - mask.
    """
    black = views.to(torch.int16) - (255 - masks.to(torch.int16))[:, None]
    return black.clamp_(0, 255).to(torch.uint8)
