"""Farthest-point sampling and training batches, beside the cross-modal reference's way from files to a batch."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.table import Comparison, Section, ratio_table, seconds
from benchmarks.timing import compare, one_thread
from ssl_core.config import override
from ssl_core.data.augment import random_resized_crop, to_float
from ssl_core.data.cameras import orbit_cameras
from ssl_core.data.features import assemble, rows_of
from ssl_core.data.household import household_cloud, household_mesh
from ssl_core.data.images import read_image, write_image
from ssl_core.data.layout import ply_path, view_path
from ssl_core.data.pack import Pack, PackConfig, PackObject
from ssl_core.data.pack_writer import write_pack
from ssl_core.data.ply import read_gaussian_ply, write_gaussian_ply
from ssl_core.data.sampling import farthest_point_order
from ssl_core.recipe import Batch
from ssl_core.recipes.cross_modal.config import CrossModalConfig, paper
from ssl_core.recipes.cross_modal.data import CrossModalData
from ssl_core.render.mesh_raster import render_mesh

Indices = NDArray[np.int64]
Points = NDArray[np.float32]
CLASSES = ("chair", "table")
VIEWS = 3
"""Pictures per item of a batch: two views of the object, one of another."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    points: int = 15_000
    sampled: int = 2048
    gaussians: int = 18_000
    image: int = 224
    batch: int = 8
    repetitions: int = 5
    batch_repetitions: int = 3
    at_least: float = 0.2


QUICK = Sizes(600, 64, 700, 24, 4, repetitions=2, batch_repetitions=1, at_least=0.0)


def measure(quick: bool = False) -> Section:
    """Farthest-point sampling alone, and a batch of the cross-modal recipe's paper preset."""
    sizes = QUICK if quick else Sizes()
    with one_thread(), tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        rows = [compare_farthest_points(sizes)]
        root = Path(folder)
        write_objects(root, sizes)
        started = time.perf_counter()
        pack = write_pack(root / "points", root / "images", root / "pack", PackConfig(cached_points=sizes.sampled))
        packed = time.perf_counter() - started
        rows += compare_batches(pack, root, sizes)
    count = len(pack.manifest.objects)
    return Section(
        title="Sampling and batches",
        shows="What reading, filtering, ordering and decoding once is worth to every batch after it.",
        baseline="The baseline is the cross-modal reference's path for each item of each batch: parse the .ply, keep "
        "the opaque Gaussians, search farthest points with a loop in numpy, decode three PNG files.",
        tables=(ratio_table(rows, "per item, from files"),),
        notes=(
            f"Batches hold {sizes.batch} items with {sizes.sampled:,} of about {sizes.points:,} opaque Gaussians and "
            f"{VIEWS} pictures of {sizes.image} px, cropped and flipped the same way on both sides; files are in the "
            f"disk's cache. Making the pack took {seconds(packed / count)} per object, once.",
        ),
    )


def compare_farthest_points(sizes: Sizes) -> Comparison:
    """Ours and the loop from the same start; both must cover the cloud equally well."""
    rng = np.random.default_rng(0)
    xyz = household_cloud(household_mesh("chair", rng).normalised(), sizes.points, rng).xyz
    orders = farthest_point_order(xyz, sizes.sampled, 0), plain_farthest_points(xyz, sizes.sampled, 0)
    radii = [covering_radius(xyz, order) for order in orders]
    assert abs(radii[0] - radii[1]) <= 1e-3 * radii[1], f"covering radii differ: {radii}"
    return compare(
        f"farthest points, {sizes.sampled:,} of {sizes.points:,}",
        lambda: farthest_point_order(xyz, sizes.sampled, 0),
        lambda: plain_farthest_points(xyz, sizes.sampled, 0),
        sizes.repetitions,
        sizes.at_least,
    )


def compare_batches(pack: Pack, root: Path, sizes: Sizes) -> list[Comparison]:
    """A whole batch, and its pictures alone."""
    values = {"points.num_points": sizes.sampled, "image.image_size": sizes.image, "training.batch_size": sizes.batch}
    config = override(paper(), values)
    data = CrossModalData(config, pack, seed=0, device=torch.device("cpu"))
    objects = data.fit[: sizes.batch]
    items = [pack.manifest.objects[index] for index in objects]
    rng = np.random.default_rng(0)
    views = pack.first_view[objects] + np.arange(VIEWS)[:, None]

    def from_pack() -> Batch:
        return next(iter(data.epoch(0)))

    def from_files() -> Batch:
        return plain_batch(root, items, config, rng)

    ours, theirs = from_pack(), from_files()
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: tensor.shape for n, tensor in theirs.items()}
    torch.testing.assert_close(mapped_pictures(pack, views), plain_pictures(root, items))
    whole = compare(f"batch of {sizes.batch}", from_pack, from_files, sizes.batch_repetitions, sizes.at_least)
    pictures = compare(
        f"its {VIEWS * sizes.batch} pictures, uncropped",
        lambda: mapped_pictures(pack, views),
        lambda: plain_pictures(root, items),
        sizes.repetitions,
        sizes.at_least,
    )
    return [whole, pictures]


def mapped_pictures(pack: Pack, views: Indices) -> Tensor:
    """[views, B] -> [views * B, 3, S, S] float, gathered from the map."""
    return to_float(torch.from_numpy(pack.views[views.reshape(-1)]))


def plain_farthest_points(xyz: Points, count: int, start: int) -> Indices:
    """Farthest points as the strategy is defined: one pass over all points for each point chosen."""
    chosen = np.empty(count, dtype=np.int64)
    distance = np.full(len(xyz), np.inf, dtype=np.float32)
    current = start
    for place in range(count):
        chosen[place] = current
        distance = np.minimum(distance, ((xyz - xyz[current]) ** 2).sum(axis=1))
        current = int(distance.argmax())
    return chosen


def covering_radius(xyz: Points, chosen: Indices) -> float:
    """Largest distance of a point to the nearest chosen one."""
    nearest = torch.cdist(torch.from_numpy(xyz).double(), torch.from_numpy(xyz[chosen]).double()).amin(1)
    return float(nearest.max())


def plain_batch(root: Path, items: Sequence[PackObject], config: CrossModalConfig, rng: np.random.Generator) -> Batch:
    """`points` [B, N, D] and `images` [3, B, 3, S, S] straight from the files."""
    pictures = plain_pictures(root, items)
    crop, size = config.augment, config.image.image_size
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    cropped = random_resized_crop(pictures, size, crop.crop_min_scale, generator, flip=crop.flip)
    points = np.stack([plain_points(root, item, config, rng) for item in items])
    return {"points": torch.from_numpy(points), "images": cropped.view(VIEWS, len(items), 3, size, size)}


def plain_points(root: Path, item: PackObject, config: CrossModalConfig, rng: np.random.Generator) -> Points:
    """[N, D] of one object, parsed, filtered, sampled and normalised."""
    cloud = read_gaussian_ply(ply_path(root / "points", item.class_name, item.split, item.name))
    cloud = cloud.select(cloud.alphas() > config.points.alpha_threshold)
    order = plain_farthest_points(cloud.xyz, config.points.num_points, int(rng.integers(len(cloud))))
    return assemble(rows_of(cloud.select(order)), config.points)


def plain_pictures(root: Path, items: Sequence[PackObject]) -> Tensor:
    """[3 * B, 3, S, S] float, decoded from PNG files."""
    decoded = [
        read_image(view_path(root / "images", item.class_name, item.split, item.name, view)).transpose(2, 0, 1)
        for view in range(VIEWS)
        for item in items
    ]
    return to_float(torch.from_numpy(np.stack(decoded)))


def write_objects(root: Path, sizes: Sizes) -> None:
    """Procedural objects in the reference's layout: as many besides validation as a batch has."""
    rng = np.random.default_rng(1)
    fitted = -(-sizes.batch // len(CLASSES))
    per_class = next(n for n in range(fitted + 1, 3 * fitted + 3) if n - max(1, round(0.2 * n)) >= fitted)
    for class_name in CLASSES:
        for number in range(per_class):
            place = class_name, "train", f"{class_name}_{number:04d}"
            mesh = household_mesh(class_name, rng).normalised()
            for view, camera in enumerate(orbit_cameras(VIEWS, sizes.image)):
                pixels = np.rint(np.clip(render_mesh(mesh, camera).rgb, 0, 1) * 255).astype(np.uint8)
                write_image(view_path(root / "images", *place, view), pixels)
            write_gaussian_ply(ply_path(root / "points", *place), household_cloud(mesh, sizes.gaussians, rng))
