"""The stage `teacher`: what a frozen image network says of the views of every training object, computed once.

    views.npy     [objects, V, F] float32, of V evenly spaced views; objects as in `objects.npy`
    pooled.npy    [objects, 2, F] float32: their maximum and their mean
    objects.npy   [objects] int64, indices into the pack: the training objects, validation among them
    facts.json    pack, views, seconds, objects per second

Trials map the arrays, so that those of a machine share one copy in memory.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.evaluation.extract import Features, image_features, view_batch_count
from ssl_core.evaluation.report import Steps, Tell
from ssl_core.models.teachers import build_teacher, teacher_card
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig, TeacherConfig
from ssl_core.recipes.multiview_contrast.stage_facts import rows_of_objects, write_facts
from ssl_core.recipes.multiview_contrast.trained_teacher import given_network
from ssl_core.training.contract import Stage
from ssl_core.training.stage_progress import tell_stage


def _make(config: MultiviewContrastConfig, pack: ObjectPack, folder: Path, device: torch.device) -> None:
    began = time.perf_counter()
    objects = pack.objects("train")
    network = given_network(config.teacher.network, pack, folder.parent, device)
    teacher, size = build_teacher(network).to(device), teacher_card(network).contract.image_size
    steps = Steps(total=view_batch_count(pack, objects, config.teacher.views), tell=_told(len(objects)))
    views = image_features(teacher, pack, objects, size, views=config.teacher.views, steps=steps)
    np.save(folder / "views.npy", views)
    np.save(folder / "pooled.npy", np.stack([views.max(axis=1), views.mean(axis=1)], axis=1))
    write_facts(folder, pack, views.shape[1], began)


def _told(objects: int) -> Tell:
    return lambda progress: tell_stage(objects * progress.done // max(1, progress.total), objects)


def _settings(config: MultiviewContrastConfig) -> TeacherConfig:
    return config.teacher


def has_views(config: MultiviewContrastConfig, pack: ObjectPack) -> bool:
    """Whether there is something for the teacher to look at; plain point clouds may come without."""
    return bool(pack.num_views[pack.objects("train")].max(initial=0))


TEACHER: Stage[MultiviewContrastConfig, ObjectPack] = Stage("teacher", _settings, _make, when=has_views)


@dataclass(frozen=True)
class TeacherFeatures:
    """The stage's arrays, mapped; rows by index of the object in the pack."""

    views: NDArray[np.float32]
    pooled: NDArray[np.float32]
    row: Indices  # of each object of the pack; -1 for none

    @classmethod
    def of(cls, folder: Path, pack: ObjectPack) -> "TeacherFeatures":
        """Open a made stage. Raises ConfigError: it is another pack's."""
        views, pooled = (np.load(folder / name, mmap_mode="r") for name in ("views.npy", "pooled.npy"))
        return cls(views, pooled, rows_of_objects(folder, pack))

    @property
    def dim(self) -> int:
        """F, the width of the teacher's features."""
        return int(self.views.shape[2])

    def of_views(self, objects: Indices, count: int) -> Features:
        """[objects, min(count, V), F] of views evenly spaced over those that the stage has."""
        available = self.views.shape[1]
        count = min(count, available)
        found: Features = np.array(self.views[self.row[objects]][:, np.arange(count) * available // count])
        return found

    def targets(self, objects: Indices) -> "Targets":
        """Maxima over views, brought to mean 0 and deviation 1 over these objects."""
        pooled = np.array(self.pooled[self.row[objects], 0])
        return Targets(self, pooled.mean(axis=0), np.maximum(pooled.std(axis=0), 1e-6))


@dataclass(frozen=True)
class Targets:
    """Standardised when they are asked for: a trial holds two rows of its own, whatever the number of objects."""

    features: TeacherFeatures
    mean: Features  # [F]
    deviation: Features  # [F]

    def __getitem__(self, objects: Indices) -> Features:
        """[len(objects), F]."""
        found: Features = (self.features.pooled[self.features.row[objects], 0] - self.mean) / self.deviation
        return found
