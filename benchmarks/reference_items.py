"""One item of a batch as the cross-modal reference makes it, restated: everything from files, every time.

Points: parse the whole .ply, stack the columns, keep what has an opacity *logit* above .3, search farthest points with
a loop in numpy or draw uniformly with replacement, centre and scale. Pictures: decode three PNG files, crop, flip.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from plyfile import PlyData
from torch import Tensor
from torchvision import transforms

Points = NDArray[np.float32]
Indices = NDArray[np.int64]

OPACITY_LOGIT = 0.3
COLUMNS = (
    "x", "y", "z", *(f"f_rest_{i}" for i in range(44)), "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip
"""With the options for colour, scale and rotation: 54 columns, of colour all but the last higher coefficient."""


def points_of(file: Path, count: int, rng: np.random.Generator, *, farthest: bool) -> Points:
    """[count, 54] of one .ply, sampled in one of the reference's two ways; xyz in the unit ball."""
    vertex = PlyData.read(str(file))["vertex"].data
    columns = np.stack([np.asarray(vertex[name]) for name in COLUMNS], axis=1)
    rows = columns[np.asarray(vertex["opacity"]) > OPACITY_LOGIT]
    if farthest:
        chosen = farthest_points(rows[:, :3], count, int(rng.integers(len(rows))))
    else:
        chosen = rng.choice(len(rows), count, replace=True)
    sample = rows[chosen]
    sample[:, :3] -= sample[:, :3].mean(axis=0)
    sample[:, :3] /= np.sqrt((sample[:, :3] ** 2).sum(axis=1)).max()
    return sample.astype(np.float32)


def farthest_points(xyz: Points, count: int, start: int) -> Indices:
    """Farthest points as they are defined: one pass over all points for each one chosen, distances in float64."""
    chosen = np.zeros(count)
    nearest = np.full(len(xyz), 1e10)
    current = start
    for place in range(count):
        chosen[place] = current
        distance = ((xyz.astype(np.float64) - xyz[current]) ** 2).sum(axis=-1)
        closer = distance < nearest
        nearest[closer] = distance[closer]
        current = int(np.argmax(nearest))
    return chosen.astype(np.int64)


def training_pictures(files: Sequence[Path], size: int) -> Tensor:
    """[V, 3, size, size] float: random crop of at least 8 % of the area, flip, tensor."""
    change = transforms.Compose(
        [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    return torch.stack([change(_decoded(file)) for file in files])


def test_pictures(files: Sequence[Path], size: int) -> Tensor:
    """[V, 3, size, size] float: the whole pictures."""
    change = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    return torch.stack([change(_decoded(file)) for file in files])


def _decoded(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")
