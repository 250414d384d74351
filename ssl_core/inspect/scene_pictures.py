"""What a view of a scene pack holds, as pictures: the photograph, its labels in their colours, its depth in grey."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.scene_pack import VOID, ScenePack

Pixels = NDArray[np.uint8]


def view_pictures(pack: ScenePack, index: int) -> Iterator[tuple[Pixels, str]]:
    """uint8 [H, W, 3] with their captions, as many as the pack has maps of."""
    view = pack.manifest.views[index]
    name = view.name if len(pack.scenes) == 1 else f"{pack.scenes[view.scene].name} {view.name}"
    yield pack.image(index), name
    if (labels := pack.labels(index)) is not None:
        yield label_picture(labels, pack.palette), "labels"
    if (depth := pack.depth(index)) is not None:
        yield depth_picture(depth), f"depth, {depth.max():.3g} at most"


def label_picture(labels: Pixels, palette: Pixels) -> Pixels:
    """[H, W] numbers of classes as [H, W, 3] colours of `palette` [C, 3]; VOID is black."""
    colours = np.zeros((VOID + 1, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours[labels]


def depth_picture(depth: NDArray[np.float32]) -> Pixels:
    """[H, W] depth as [H, W, 3] grey, near bright; black where it is not known."""
    known = depth > 0
    grey = np.zeros(depth.shape, np.uint8)
    if known.any():
        low, high = float(depth[known].min()), float(depth.max())
        grey[known] = np.rint(255 - 205 * (depth[known] - low) / max(high - low, 1e-9))
    return np.repeat(grey[..., None], 3, axis=2)
