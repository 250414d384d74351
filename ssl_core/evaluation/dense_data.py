"""What a dense encoder is measured on: views of a pack of scenes in the encoder's size, and their labels and depth.

Scenes are split before views are: where a pack has several, the views of a split are all views of its scenes; of a
single scene they are those that its own split names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.scene_pack import VOID, ScenePack, ViewSplit
from ssl_core.errors import InfeasibleError
from ssl_core.models.dense_encoder import DenseEncoder
from ssl_core.models.modes import device_of, evaluating

BATCH = 8
"""images through an encoder at a time"""


def views_of(pack: ScenePack, split: ViewSplit) -> NDArray[np.int64]:
    """Indices of the views of a split's scenes; of a pack with one scene, of the split's views."""
    if len(pack.scenes) == 1:
        return pack.views(split)
    return np.concatenate([np.empty(0, np.int64), *(pack.views(scene=scene) for scene in pack.scenes_of(split))])


def scene_of(pack: ScenePack, views: NDArray[np.int64]) -> NDArray[np.int64]:
    """The scene of each view, [views]."""
    return np.array([pack.manifest.views[view].scene for view in views], dtype=np.int64)


def picture_batch(pack: ScenePack, views: NDArray[np.int64], size: tuple[int, int]) -> Tensor:
    """[views, 3, H, W] float32 in [0, 1] of any views, each squeezed to `size` (H, W)."""
    found = []
    for view in views.tolist():
        pixels = torch.from_numpy(np.array(pack.image(view))).permute(2, 0, 1)[None].float() / 255
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        found.append(pixels)
    return torch.cat(found) if found else torch.empty(0, 3, *size)


def label_grid(pack: ScenePack, views: NDArray[np.int64], grid: tuple[int, int]) -> Tensor | None:
    """[views, *grid] int64 labels at the centres of a grid's cells; None in a pack without classes."""
    if not pack.classes:
        return None
    found = [_at_centres(_labels(pack, view), grid) for view in views.tolist()]
    return torch.stack(found).long() if found else torch.empty(0, *grid, dtype=torch.int64)


def depth_grid(pack: ScenePack, views: NDArray[np.int64], grid: tuple[int, int]) -> Tensor | None:
    """[views, *grid] float32 depths at the centres of a grid's cells, 0 where unknown; None where no view has any."""
    maps = [pack.depth(view) for view in views.tolist()]
    if all(each is None for each in maps):
        return None
    found = [torch.zeros(grid) if each is None else _at_centres(known_depth(each), grid) for each in maps]
    return torch.stack(found).float()


def known_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """With 0 in place of what is not finite or negative."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def _labels(pack: ScenePack, view: int) -> NDArray[np.uint8]:
    found = pack.labels(view)
    if found is None:
        seen = pack.manifest.views[view]
        return np.full((seen.height, seen.width), VOID, np.uint8)
    if (wrong := int(np.max(found, initial=0, where=found != VOID))) >= len(pack.classes):
        raise InfeasibleError(
            f"{pack.path}: view {view} has label {wrong}, but the pack names {len(pack.classes)} classes; pack it again"
        )
    return found


def _at_centres(values: NDArray[np.uint8] | NDArray[np.float32], grid: tuple[int, int]) -> Tensor:
    rows, columns = (
        np.minimum(((np.arange(cells) + 0.5) * side / cells).astype(np.int64), side - 1)
        for cells, side in zip(grid, values.shape, strict=True)
    )
    return torch.from_numpy(np.ascontiguousarray(values[np.ix_(rows, columns)]))


@dataclass(frozen=True)
class TokenMaps:
    """Tokens of some views: original and, where there are any, fine-tuned ones [V, D, h, w]; the image's vectors
    [V, G]. On the CPU, float32."""

    original: Tensor
    fine: Tensor | None
    whole: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        return self.original.shape[2], self.original.shape[3]

    def rows(self, some: NDArray[np.bool_]) -> "TokenMaps":
        """Of some of the views."""
        chosen = torch.from_numpy(some)
        return TokenMaps(self.original[chosen], None if self.fine is None else self.fine[chosen], self.whole[chosen])


def token_maps(encoder: DenseEncoder, pack: ScenePack, views: NDArray[np.int64], size: tuple[int, int]) -> TokenMaps:
    """Of the views' pictures, squeezed to `size` (H, W)."""
    original, fine, whole = [], [], []
    device = device_of(encoder)
    with evaluating(encoder):
        for some in batches(views):
            found = encoder.tokens(picture_batch(pack, some, size).to(device))
            original.append(found.original.float().cpu())
            whole.append(found.whole.float().cpu())
            if found.fine is not None:
                fine.append(found.fine.float().cpu())
    # tensors that were made in inference mode cannot be trained on
    return TokenMaps(torch.cat(original).clone(), torch.cat(fine).clone() if fine else None, torch.cat(whole).clone())


def batches(views: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Of views, in their order."""
    yield from (views[start : start + BATCH] for start in range(0, len(views), BATCH))
