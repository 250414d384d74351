"""The stage `maps`: the frozen network's dense features of every training object's views.

    maps.npy         [objects, V, h, w, C] float16: a pixel's features lie side by side
    statistics.npy   [2, C] float32: mean and deviation of each channel over the objects that train (not validation)
    objects.npy      [objects] int64, indices into the pack
    facts.json       pack, views, objects per second

Trials map them; of a step they read four places of a map per pair.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ssl_core.config import Config
from ssl_core.data.augment import whole_images
from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import spaced_views
from ssl_core.models.dense_maps import dense_features
from ssl_core.models.modes import evaluating
from ssl_core.models.teachers import build_teacher, teacher_card
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig, TeacherConfig
from ssl_core.recipes.multiview_contrast.stage_facts import rows_of_objects, write_facts
from ssl_core.recipes.multiview_contrast.trained_teacher import given_network
from ssl_core.training.contract import Stage
from ssl_core.training.stage_progress import tell_stage

_LARGEST = float(np.finfo(np.float16).max)


class MapsConfig(Config):
    """What the stage depends on."""

    teacher: TeacherConfig
    stride: int


def _settings(config: MultiviewContrastConfig) -> MapsConfig:
    return MapsConfig(teacher=config.teacher, stride=config.pairs.stride)


def _make(config: MultiviewContrastConfig, pack: ObjectPack, folder: Path, device: torch.device) -> None:
    began, settings, objects = time.perf_counter(), _settings(config), pack.objects("train")
    network = given_network(settings.teacher.network, pack, folder.parent, device)
    teacher, size = build_teacher(network).to(device), teacher_card(network).contract.image_size
    features = dense_features(teacher, settings.stride)
    views, fit = spaced_views(pack, objects, settings.teacher.views), np.isin(objects, pack.objects("fit"))
    maps, total = None, np.zeros(())
    with evaluating(teacher):
        for number, some in enumerate(views):
            images = whole_images(torch.from_numpy(pack.views[some]).to(device), size)
            found = features(images).float().permute(0, 2, 3, 1).clamp(-_LARGEST, _LARGEST).cpu().numpy()
            if maps is None:
                shape = (len(objects), *found.shape)
                maps = open_memmap(folder / "maps.npy", mode="w+", dtype=np.float16, shape=shape)
            maps[number] = found
            tell_stage(number + 1, len(objects))
            if fit[number]:
                rows = found.reshape(-1, found.shape[-1]).astype(np.float64)
                total = total + np.stack([rows.mean(axis=0), (rows * rows).mean(axis=0)])
    assert maps is not None, "a pack without training objects is refused before"
    maps.flush()
    mean, square = total / fit.sum()
    deviation = np.sqrt(np.maximum(square - mean * mean, 1e-12))
    np.save(folder / "statistics.npy", np.stack([mean, deviation]).astype(np.float32))
    write_facts(folder, pack, views.shape[1], began, map=list(maps.shape[2:]))


MAPS: Stage[MultiviewContrastConfig, ObjectPack] = Stage(
    "maps", _settings, _make, when=lambda config, _: config.loss.local_weight > 0
)


@dataclass(frozen=True)
class TeacherMaps:
    """The stage's arrays, mapped."""

    maps: NDArray[np.float16]
    statistics: NDArray[np.float32]
    row: Indices  # of each object of the pack; -1 for none

    @classmethod
    def of(cls, folder: Path, pack: ObjectPack, views: int) -> "TeacherMaps":
        """Open a made stage. Raises ConfigError: it is another pack's or of another number of views."""
        row = rows_of_objects(folder, pack, views)
        return cls(np.load(folder / "maps.npy", mmap_mode="r"), np.load(folder / "statistics.npy"), row)

    @property
    def dim(self) -> int:
        """C, the width of a pixel's features."""
        return int(self.maps.shape[-1])

    def at(
        self, objects: Indices, views: Indices, pixels: tuple[Indices, Indices], image_size: int
    ) -> NDArray[np.float32]:
        """[B, S, C] features of pixels (row, column), each [B, S], of images with `image_size` pixels a side.

        As the reference takes them: the map is enlarged bilinearly until its corners lie on the image's
        (`align_corners`) and read at the pixel. Brought to mean 0 and deviation 1 over the training objects: raw, the
        large part that all pixels share would be what they are compared by.
        """
        height, width = self.maps.shape[2:4]
        scale = 1 / max(image_size - 1, 1)
        y, x = (place * (side - 1) * scale for place, side in zip(pixels, (height, width), strict=True))
        top, left = (np.minimum(v.astype(np.int64), n - 2 if n > 1 else 0) for v, n in ((y, height), (x, width)))
        flat = self.maps.reshape(-1, self.dim)
        start = (self.row[objects][:, None] * self.maps.shape[1] + views) * (height * width)
        found = np.zeros((*views.shape, self.dim), dtype=np.float32)
        for down in (0, 1):
            for right in (0, 1):
                share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
                place = np.minimum(top + down, height - 1) * width + np.minimum(left + right, width - 1)
                found += share[..., None].astype(np.float32) * flat[start + place]
        standard: NDArray[np.float32] = (found - self.statistics[0]) / self.statistics[1]
        return standard
