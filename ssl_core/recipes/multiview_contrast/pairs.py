"""The stage `pairs`: which points of every training object are visible in which of the teacher's views.

    visible.npy    [rows, ceil(V / 8)] uint8, one bit per view (the first is the highest); the rows of all training
                   objects, one after another
    matrices.npy   [objects, V, 3, 4] float64, P = K [R | t] of each view, stored pixels
    objects.npy    [objects] int64, indices into the pack, as the stage `teacher` has them
    facts.json     pack, views, objects per second, share of the points that are seen

A bit per point and view says all: where the point lies in that view follows from P. Pairs name rows of the pack, so
nothing depends on how points are sampled, centred, scaled or augmented. The packs hold no depth: what hides what is
found by a z-buffer over the pack's own Gaussians or over balls around its points, which approximates the surface's
depth (`ssl_core.render.gaussian_depth`).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.config import Config
from ssl_core.data.batches import Indices
from ssl_core.data.object_pack import Pack as ObjectPack
from ssl_core.data.pack_arrays import COLUMNS
from ssl_core.data.point_columns import sigmoid
from ssl_core.errors import InfeasibleError
from ssl_core.evaluation.extract import spaced_views
from ssl_core.recipes.multiview_contrast.config import MultiviewContrastConfig
from ssl_core.recipes.multiview_contrast.pair_settings import BallDepth, DepthSource, GaussianDepth
from ssl_core.recipes.multiview_contrast.stage_facts import rows_of_objects, write_facts
from ssl_core.render.gaussian_depth import Ellipsoids, depth_map, pixels_in, projected, projection_matrix, visible
from ssl_core.scenes.cameras import Camera
from ssl_core.training.contract import Stage
from ssl_core.training.stage_progress import tell_stage

_FRAMED = 0.99
"""Share of an object's points that its radius holds: floaters must not loosen the test of depth."""


class VisibilityConfig(Config):
    """What the stage depends on."""

    views: int = Field(ge=1, description="per object, those that the teacher sees")
    eps: float
    depth: DepthSource


def _settings(config: MultiviewContrastConfig) -> VisibilityConfig:
    return VisibilityConfig(views=config.teacher.views, eps=config.pairs.eps, depth=config.pairs.depth)


def _make(config: MultiviewContrastConfig, pack: ObjectPack, folder: Path, device: torch.device) -> None:
    began, settings, objects = time.perf_counter(), _settings(config), pack.objects("train")
    views = spaced_views(pack, objects, settings.views)
    matrices = np.empty((*views.shape, 3, 4))
    bits, seen_points = [], 0
    for number, index in enumerate(objects.tolist()):
        cameras = [camera_of(pack, view) for view in views[number].tolist()]
        matrices[number] = [projection_matrix(camera) for camera in cameras]
        seen = visible_in(pack, index, cameras, settings)
        if not seen.any():
            raise InfeasibleError(
                f"{pack.manifest.objects[index].key}: none of its {len(seen)} points falls into any of its "
                f"{len(cameras)} views; its cameras are another object's or of another frame: mend its cameras.json "
                "and pack again, or set loss.local_weight to 0"
            )
        seen_points += int(seen.any(axis=1).sum())
        bits.append(np.packbits(seen, axis=1))
        tell_stage(number + 1, len(objects))
    np.save(folder / "visible.npy", np.concatenate(bits))
    np.save(folder / "matrices.npy", matrices)
    rows = int(pack.num_rows[objects].sum())
    write_facts(folder, pack, views.shape[1], began, points_seen=round(seen_points / rows, 4))


PAIRS: Stage[MultiviewContrastConfig, ObjectPack] = Stage(
    "pairs", _settings, _make, when=lambda config, _: config.loss.local_weight > 0
)


def camera_of(pack: ObjectPack, view: int) -> Camera:
    """Of a view of the pack. Raises InfeasibleError: the pack has none."""
    camera = pack.camera(view)
    if camera is None:
        raise InfeasibleError(
            "the pack has views without cameras, and loss.local_weight > 0 pairs points with pixels; pack images with "
            "a cameras.json per object (as `splatsweep splat` and `pack --meshes` write), or set loss.local_weight to 0"
        )
    return camera


def visible_in(pack: ObjectPack, index: int, cameras: list[Camera], settings: VisibilityConfig) -> NDArray[np.bool_]:
    """[rows, V] which rows of an object are visible in which views."""
    first = int(pack.first_row[index])
    rows = np.asarray(pack.gaussians[first : first + int(pack.num_rows[index])], dtype=np.float64)
    xyz = np.ascontiguousarray(rows[:, COLUMNS["xyz"]])
    radius = float(np.quantile(np.linalg.norm(xyz - np.median(xyz, axis=0), axis=1), _FRAMED))
    hiding, extent = _hiding(rows, xyz, radius, settings.depth)
    seen = [visible(xyz, camera, depth_map(hiding, camera, extent), settings.eps * radius) for camera in cameras]
    return np.stack(seen, axis=1)


def _hiding(
    rows: NDArray[np.float64], xyz: NDArray[np.float64], radius: float, depth: DepthSource
) -> tuple[Ellipsoids, float]:
    match depth:
        case GaussianDepth():
            solid = sigmoid(rows[:, 3].astype(np.float32)) > depth.min_alpha
            some = rows[solid]
            scales, rotations = some[:, COLUMNS["scale"]], some[:, COLUMNS["rotation"]]
            return Ellipsoids.of_gaussians(xyz[solid], scales, rotations), depth.extent
        case BallDepth():
            return Ellipsoids.balls(xyz, depth.radius * radius), 1.0
        case _:
            assert_never(depth)


@dataclass(frozen=True)
class VisiblePairs:
    """The stage's arrays, mapped."""

    pack: ObjectPack
    visible: NDArray[np.uint8]
    matrices: NDArray[np.float64]
    row: Indices  # of each object of the pack among the matrices; -1 for none
    first: Indices  # of each object of the pack, its first row in `visible`

    @classmethod
    def of(cls, folder: Path, pack: ObjectPack, views: int) -> "VisiblePairs":
        """Open a made stage. Raises ConfigError: it is another pack's or of another number of views."""
        row = rows_of_objects(folder, pack, views)
        counts = np.where(row < 0, 0, pack.num_rows)  # rows of the stage's objects lie in the pack's order
        first = np.where(row < 0, -1, np.cumsum(counts) - counts)
        bits, matrices = (np.load(folder / name, mmap_mode="r") for name in ("visible.npy", "matrices.npy"))
        return cls(pack, bits, matrices, row, first)

    def seen(self, objects: Indices, rows: Indices) -> NDArray[np.bool_]:
        """[B, N, V] whether rows [B, N] within objects [B] are visible."""
        bits = self.visible[self.first[objects][:, None] + rows]
        return np.unpackbits(bits, axis=-1, count=self.matrices.shape[1]).astype(bool)

    def counts(self, index: int) -> Indices:
        """[rows] in how many views each row of an object is visible."""
        first = int(self.first[index])
        bits = np.asarray(self.visible[first : first + int(self.pack.num_rows[index])])
        counts: Indices = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
        return counts

    def pixels(self, objects: Indices, rows: Indices, views: Indices) -> tuple[Indices, Indices]:
        """Row and column of the stored pixel in which rows [B, S] within objects [B] lie in views [B, S]."""
        where = self.pack.first_row[objects][:, None] + rows
        xyz = np.asarray(self.pack.gaussians[where][..., COLUMNS["xyz"]], dtype=np.float64)
        x, y, _ = projected(self.matrices[self.row[objects][:, None], views], xyz)
        size = self.pack.image_size
        _, row, column = pixels_in(x, y, size, size)
        return row, column
