"""Whether features of one surface point are alike in two views that see it (FiT3D's aim; El Banani et al., "Probing
the 3D Awareness of Visual Foundation Models", CVPR 2024, section 4.2).

Points are found by depth: a pixel of one view is lifted by its depth and drawn into another, where it counts if that
view's own depth says the same. Cosines are of features less their mean over all views, so that features which are all
alike agree no better than others.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.scene_pack import ScenePack
from ssl_core.evaluation.dense_data import known_depth, scene_of
from ssl_core.scenes.cameras import Camera

TOLERANCE = 0.02
"""of depth, relative: what differs more is hidden by something"""
_LEAST = 8
"""points that two views have to share"""


@dataclass(frozen=True)
class SharedPoints:
    """Points that two views see: their places among the views, and where they are on the pictures, [n, 2] in [-1, 1]
    each."""

    first: int
    second: int
    there: Tensor
    here: Tensor


@dataclass(frozen=True)
class Agreement:
    """Mean cosine of features of one surface point in two views, and of two points that have nothing to do with each
    other."""

    same: float
    other: float
    points: int


def shared_points(
    pack: ScenePack, views: NDArray[np.int64], *, partners: int = 2, pixels: int = 256, seed: int = 0
) -> tuple[SharedPoints, ...]:
    """Of each view and the next ones of its scene, from random pixels of the first. Empty in a pack without depth."""
    generator, scenes = np.random.default_rng(seed), scene_of(pack, views)
    found = []
    for i in range(len(views)):
        for j in range(i + 1, min(i + 1 + partners, len(views))):
            if scenes[i] == scenes[j]:
                pair = _shared(pack, (int(views[i]), int(views[j])), pixels, generator)
                if pair is not None:
                    found.append(SharedPoints(i, j, *pair))
    return tuple(found)


def agreement(tokens: Tensor, shared: tuple[SharedPoints, ...]) -> Agreement | None:
    """Of tokens [V, C, h, w] of the views; None where no two of them share points."""
    if not shared:
        return None
    centred = tokens - tokens.mean(dim=(0, 2, 3))[:, None, None]
    same, other, points = 0.0, 0.0, 0
    for pair in shared:
        first, second = _at(centred[pair.first], pair.there), _at(centred[pair.second], pair.here)
        same += float(F.cosine_similarity(first, second).sum())
        other += float(F.cosine_similarity(first, second.roll(len(second) // 2, dims=0)).sum())
        points += len(first)
    return Agreement(same / points, other / points, points)


def _at(tokens: Tensor, places: Tensor) -> Tensor:
    """[n, C] bilinear."""
    found = F.grid_sample(tokens[None], places[None, None].float(), align_corners=False, padding_mode="border")
    return found[0, :, 0].T


def _shared(
    pack: ScenePack, views: tuple[int, int], pixels: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor] | None:
    depths = [pack.depth(view) for view in views]
    if depths[0] is None or depths[1] is None:
        return None
    first, second = (known_depth(depth) for depth in depths if depth is not None)
    rows, columns = np.nonzero(first)
    if len(rows) == 0:
        return None
    some = generator.integers(0, len(rows), size=pixels)
    v, u = rows[some].astype(np.float64) + 0.5, columns[some].astype(np.float64) + 0.5
    here, z = _seen(pack.camera(views[1]), _lifted(pack.camera(views[0]), u, v, first[rows[some], columns[some]]))
    inside = (z > 0) & (here >= 0).all(axis=1) & (here < (second.shape[1], second.shape[0])).all(axis=1)
    their = np.zeros(len(z))
    x, y = here[inside].astype(np.int64).T
    their[inside] = second[y, x]
    kept = inside & (np.abs(their - z) < TOLERANCE * z)
    if kept.sum() < _LEAST:
        return None
    return _relative(np.stack([u, v], axis=1)[kept], first.shape), _relative(here[kept], second.shape)


def _lifted(
    camera: Camera, u: NDArray[np.float64], v: NDArray[np.float64], z: NDArray[np.float32]
) -> NDArray[np.float64]:
    """[n, 3] in the world."""
    rays = np.linalg.solve(camera.K, np.stack([u, v, np.ones_like(u)]))
    points: NDArray[np.float64] = camera.viewmat[:3, :3].T @ (rays * z - camera.viewmat[:3, 3:])
    return points.T


def _seen(camera: Camera, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels [n, 2] and depths [n]."""
    seen = camera.viewmat[:3, :3] @ points.T + camera.viewmat[:3, 3:]
    drawn = camera.K @ seen
    return (drawn[:2] / np.where(np.abs(seen[2]) > 1e-9, seen[2], 1e-9)).T, seen[2]


def _relative(pixels: NDArray[np.float64], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(2 * pixels / np.array([shape[1], shape[0]]) - 1)
