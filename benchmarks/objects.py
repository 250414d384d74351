"""Procedural objects on disk in the cross-modal reference's layout, with the proportions that its data have."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_core.files.image_files import write_image
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.meshes.household import CLASSES, household_cloud, household_mesh
from ssl_core.packing.layout import ply_path, view_path
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.scenes.cameras import orbit_cameras


@dataclass(frozen=True)
class Made:
    """What `write_objects` makes.

    Args:
        classes: number of classes.
        train, test: objects per class.
        gaussians: in each file.
        opaque: share of them with an opacity logit above .3; as many again lie above an alpha of .05.
        views: pictures per object.
        image: their side in pixels.
        distinct: that many different train objects per class; the others are hard links to their files.
    """

    classes: int
    train: int
    test: int
    gaussians: int
    opaque: float
    views: int
    image: int
    distinct: int | None = None


def write_objects(root: Path, made: Made) -> None:
    """Objects below `root`/points and `root`/images."""
    rng = np.random.default_rng(1)
    for class_name in CLASSES[: made.classes]:
        for split, count in (("train", made.train), ("test", made.test)):
            distinct = count if made.distinct is None else made.distinct
            for number in range(count):
                if number < distinct:
                    _write(root, (class_name, split, f"{class_name}_{number:04d}"), made, rng)
                else:
                    _link(root, class_name, split, (number % distinct, number), made.views)


def files_of(root: Path, class_name: str, split: str, name: str, views: int) -> tuple[Path, list[Path]]:
    """The .ply of an object and its pictures."""
    ply = ply_path(root / "points", class_name, split, name)
    return ply, [view_path(root / "images", class_name, split, name, view) for view in range(views)]


def with_opacities(cloud: GaussianCloud, opaque: float, rng: np.random.Generator) -> GaussianCloud:
    """The cloud with new opacities: a share above a logit of .3, as many above an alpha of .05, the rest below."""
    n, some = len(cloud), round(opaque * len(cloud))
    logits = rng.uniform(-6.0, -3.0, n)
    places = rng.permutation(n)
    logits[places[:some]] = rng.uniform(0.31, 6.0, some)
    logits[places[some : 2 * some]] = rng.uniform(-2.9, 0.29, len(places[some : 2 * some]))
    return dataclasses.replace(cloud, opacity_logits=logits.astype(np.float32))


def _write(root: Path, place: tuple[str, str, str], made: Made, rng: np.random.Generator) -> None:
    ply, pictures = files_of(root, *place, made.views)
    for file in (ply, pictures[0]):
        file.parent.mkdir(parents=True, exist_ok=True)
    mesh = household_mesh(place[0], rng).normalised()
    views = render_mesh_views(mesh, orbit_cameras(made.views, made.image))
    for file, view in zip(pictures, views, strict=True):
        write_image(file, np.rint(np.clip(view.rgb, 0, 1) * 255).astype(np.uint8))
    write_gaussian_ply(ply, with_opacities(household_cloud(mesh, made.gaussians, rng), made.opaque, rng))


def _link(root: Path, class_name: str, split: str, numbers: tuple[int, int], views: int) -> None:
    known, new = (files_of(root, class_name, split, f"{class_name}_{number:04d}", views) for number in numbers)
    for there, here in zip((known[0], *known[1]), (new[0], *new[1]), strict=True):
        here.parent.mkdir(parents=True, exist_ok=True)
        os.link(there, here)
