"""Writes the procedural household set, views and Gaussians, in the cross-modal reference's layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssl_core.errors import LayoutError
from ssl_core.files.whole import atomic_write
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.meshes.household import CLASSES, HouseholdConfig, household_cloud, household_mesh
from ssl_core.packing.layout import SPLITS, ply_path, view_path
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.splatting.object_views import write_views

Progress = Callable[[int, int], None]
SETTINGS = "household.json"


def write_household(out: Path, config: HouseholdConfig, progress: Progress | None = None) -> None:
    """Write `out/points/...` and `out/images/...`; objects that are already whole are not made again.

    An object depends on the seed, its class, split and number, so a set can be continued or enlarged. `progress` is
    called with (objects done, objects in all).

    Raises:
        LayoutError: `out` holds a set with other settings, or a larger one.
        StorageError: the disk is full or not writable.
    """
    out = Path(out)
    _claim(out, config)
    places = [
        (class_name, split, number)
        for class_name in CLASSES
        for split in SPLITS
        for number in range(1, _count(config, split) + 1)
    ]
    for done, (class_name, split, number) in enumerate(places, start=1):
        _write_object(out, class_name, split, number, config)
        if progress is not None:
            progress(done, len(places))


def _count(config: HouseholdConfig, split: str) -> int:
    return config.train_per_class if split == "train" else config.test_per_class


def _claim(out: Path, config: HouseholdConfig) -> None:
    """Record the settings in `out`, or check them against those there."""
    record = out / SETTINGS
    if record.exists():
        found = HouseholdConfig.from_json(record.read_text())
        counts = {split: _count(config, split) for split in SPLITS}
        same = found.model_copy(update={f"{split}_per_class": count for split, count in counts.items()})
        if same != config or any(_count(found, split) > count for split, count in counts.items()):
            raise LayoutError(
                f"{out}: holds a household set with other settings ({found.to_json()}); "
                "choose another folder, or delete this one"
            )
        if found == config:
            return
    with atomic_write(record) as stream:
        stream.write(config.to_json().encode() + b"\n")


def _write_object(out: Path, class_name: str, split: str, number: int, config: HouseholdConfig) -> None:
    """Views first, Gaussians last: an object with its .ply is whole."""
    at = class_name, split, f"{class_name}_{number:04d}"
    ply = ply_path(out / "points", *at)
    views = [view_path(out / "images", *at, index) for index in range(config.views)]
    if ply.exists() and all(view.exists() for view in views):
        return
    rng = np.random.default_rng([config.seed, CLASSES.index(class_name), SPLITS.index(split), number])
    mesh = household_mesh(class_name, rng).normalised()
    cameras = orbit_cameras(config.views, config.image_size)
    write_views(out / "images", at, cameras, render_mesh_views(mesh, cameras))
    write_gaussian_ply(ply, household_cloud(mesh, config.gaussians, rng))
