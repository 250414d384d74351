"""Training batches from a pack, beside the cross-modal reference's way from files; and what an epoch waits for them."""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import reference_items
from benchmarks.objects import Made, files_of, write_objects
from benchmarks.table import Comparison, Samples, Section, Table, digits, ratio_table, seconds
from benchmarks.timing import one_thread, seconds_per_call
from ssl_core.config import override
from ssl_core.contracts import Sampling
from ssl_core.data.augment import random_resized_crop
from ssl_core.data.object_pack import Pack, PackConfig
from ssl_core.packing.pack_writer import write_pack
from ssl_core.recipes.cross_modal import CROSS_MODAL
from ssl_core.recipes.cross_modal.config import CrossModalConfig, paper, quick
from ssl_core.recipes.cross_modal.trial import CrossModalTrial
from ssl_core.training.config import choose_device
from ssl_core.training.session import trained

VIEWS = 3
"""Pictures per item of a batch: two views of the object, one of another."""
ALL_GROUPS = ("xyz", "opacity", "scale", "rotation", "sh_dc", "sh_rest", "normals")
FARTHEST_BAR, UNIFORM_BAR, WAIT_BAR = 120.0, 10.0, 0.03


BATCHES = Made(classes=2, train=21, test=0, gaussians=100_000, opaque=0.15, views=VIEWS, image=512, distinct=3)
WAITING = Made(classes=10, train=16, test=1, gaussians=1500, opaque=0.4, views=8, image=64)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    objects: Made = BATCHES
    waiting: Made = WAITING
    batch: int = 32
    points: int = 2048
    stored: int = 256
    crop: int = 224
    repetitions: int = 7
    epochs: int = 3
    gpu_iterations: int = 40


QUICK = Sizes(
    objects=Made(classes=2, train=4, test=0, gaussians=900, opaque=0.4, views=VIEWS, image=40, distinct=1),
    waiting=Made(classes=3, train=4, test=1, gaussians=700, opaque=0.45, views=2, image=64),
    batch=4,
    points=64,
    stored=32,
    crop=24,
    repetitions=2,
    epochs=1,
)


def measure(quick: bool = False) -> Section:
    """Batches in each way of sampling, where ours spends its time, and the share of an epoch without a batch."""
    sizes = QUICK if quick else Sizes()
    with one_thread(), tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        root = Path(folder)
        write_objects(root, sizes.objects)
        started = time.perf_counter()
        config = PackConfig(cached_points=sizes.points, starts=2, image_size=sizes.stored)
        pack = write_pack(root / "points", root / "images", root / "pack", config)
        packed = (time.perf_counter() - started) / len(pack.manifest.objects)
        rows = compare_batches(pack, root, sizes)
        parts = ours_in_parts(pack, sizes)
        waits = measure_waiting(pack, root / "waiting", sizes)
    return Section(
        title="Input pipeline",
        shows=f"Batches of {sizes.batch} items: {sizes.points:,} points with all feature groups, and {VIEWS} pictures "
        f"cropped to {sizes.crop} px; and how long training waits for them.",
        baseline="The baseline is the cross-modal reference's path for each item of each batch: parse the .ply, stack "
        "its columns, keep the opaque Gaussians, sample in numpy, decode three PNG files, crop them.",
        tables=(ratio_table(rows, "per item, from files"), parts, waiting_table(waits)),
        notes=notes(sizes, packed),
        missed=() if quick else missed(rows, waits),
    )


def notes(sizes: Sizes, packed: float) -> tuple[str, ...]:
    """How it was measured, in sentences."""
    made = sizes.objects
    return (
        f"Files hold {made.gaussians:,} Gaussians of SH degree 3, about {made.opaque * made.gaussians:,.0f} above the "
        f"threshold (alpha .574), and pictures of {made.image} px; all are in the disk's cache.",
        f"The baseline was measured item by item on {made.classes * (made.distinct or made.train)} objects and "
        f"multiplied by {sizes.batch}; ours is whole batches, from a pack with views of {sizes.stored} px, with orders "
        f"for that threshold made before. Making the pack took {seconds(packed)} per object, once. "
        f"The reference reads {len(reference_items.COLUMNS)} columns, ours are 62.",
        f"Bars: {FARTHEST_BAR:.0f} times with farthest points, {UNIFORM_BAR:.0f} times with uniform points, and at "
        f"most {100 * WAIT_BAR:.0f} % of an epoch waited.",
    )


def missed(rows: list[Comparison], waits: dict[str, Samples]) -> tuple[str, ...]:
    """Bars that were not kept."""
    bars = [FARTHEST_BAR, *(UNIFORM_BAR for _ in rows[1:])]
    slow = [
        f"{row.what}: {digits(row.ratio.median)} times the baseline, the bar is {bar:.0f}"
        for row, bar in zip(rows, bars, strict=True)
        if row.ratio.median < bar
    ]
    late = [
        f"{what}: {100 * wait.median:.1f} % of an epoch waits for data, the bar is {100 * WAIT_BAR:.0f} %"
        for what, wait in waits.items()
        if wait.median > WAIT_BAR
    ]
    return (*slow, *late)


def configured(sizes: Sizes, sampling: Sampling = "fps") -> CrossModalConfig:
    """The paper preset with every feature group."""
    values = {
        "points.features": ALL_GROUPS,
        "points.num_points": sizes.points,
        "points.sampling": sampling,
        "image.image_size": sizes.crop,
        "training.batch_size": sizes.batch,
    }
    return override(paper(), values)


def batches(pack: Pack, config: CrossModalConfig) -> Callable[[], object]:
    """The first batch of another epoch at each call."""
    data = CrossModalTrial(config, pack, seed=0, device=torch.device("cpu"))
    if data.batch_size != config.training.batch_size:
        raise ValueError(f"the pack has too few objects for batches of {config.training.batch_size}")
    epochs = itertools.count()
    return lambda: next(data.batches(next(epochs)))


def compare_batches(pack: Pack, root: Path, sizes: Sizes) -> list[Comparison]:
    """Whole batches of ours; items of the baseline, times the size of the batch."""
    made = sizes.objects
    rng = np.random.default_rng(0)
    items = [
        files_of(root, item.class_name, item.split, item.name, VIEWS)
        for item in pack.manifest.objects
        if int(item.name.rsplit("_", 1)[1]) < (made.distinct or made.train)
    ]

    def item_seconds(farthest: bool) -> Samples:
        found = []
        for ply, pictures in items:
            began = time.perf_counter()
            reference_items.points_of(ply, sizes.points, rng, farthest=farthest)
            reference_items.training_pictures(pictures, sizes.crop)
            found.append(sizes.batch * (time.perf_counter() - began))
        return Samples(tuple(found))

    kinds: tuple[tuple[str, Sampling, bool], ...] = (
        ("farthest points", "fps", True),
        ("uniform with replacement, as the reference", "uniform_with_replacement", False),
        ("uniform without replacement", "uniform", False),
    )
    rows = []
    for name, sampling, farthest in kinds:
        ours = batches(pack, configured(sizes, sampling))
        ours()  # the first one finds the pages of the pack
        times = Samples(tuple(seconds_per_call(ours, 0.0) for _ in range(sizes.repetitions)))
        rows.append(Comparison(f"batch of {sizes.batch}, {name}", times, item_seconds(farthest)))
    return rows


def ours_in_parts(pack: Pack, sizes: Sizes) -> Table:
    """Seconds of our batch with farthest points, part by part."""
    data = CrossModalTrial(configured(sizes), pack, seed=0, device=torch.device("cpu"))
    objects, rng, generator = data.fit[: sizes.batch], np.random.default_rng(0), torch.Generator().manual_seed(0)
    views = rng.permutation(len(pack.views))[: VIEWS * sizes.batch]
    stored = torch.from_numpy(pack.views[views])
    parts: dict[str, Callable[[], object]] = {
        f"{sizes.points:,} points of {len(objects)} objects": lambda: data.sampler.sample(objects, rng),
        f"{len(views)} views of {sizes.stored} px out of the map": lambda: pack.views[views],
        f"their crops of {sizes.crop} px": lambda: random_resized_crop(stored, sizes.crop, 0.08, generator),
    }
    rows = []
    for name, work in parts.items():
        work()
        rows.append((name, Samples(tuple(seconds_per_call(work, 0.0) for _ in range(sizes.repetitions))).text(seconds)))
    return Table(("part of ours", "time"), tuple(rows))


def measure_waiting(pack: Pack, root: Path, sizes: Sizes) -> dict[str, Samples]:
    """Share of an epoch for which no batch was there: the quick preset on this CPU; `paper()` where there is a GPU."""
    write_objects(root, sizes.waiting)
    small = write_pack(root / "points", root / "images", root / "pack", PackConfig(cached_points=512, starts=2))
    quick_on_cpu = override(quick(), {"training.device": "cpu"})
    found = {"quick preset on the CPU, views of 64 px": waiting(quick_on_cpu, small, sizes.epochs)}
    if torch.cuda.is_available():
        values = {"training.device": "cuda", "points.num_points": sizes.points, "image.image_size": sizes.crop}
        on_gpu = override(paper(), {**values, "training.batch_size": sizes.batch})
        found[f"paper preset on {torch.cuda.get_device_name(0)}"] = waiting(
            on_gpu, pack, sizes.epochs, iterations=sizes.gpu_iterations
        )
    return found


def waiting(config: CrossModalConfig, pack: Pack, epochs: int, iterations: int | None = None) -> Samples:
    """`train/data_wait_share` of epochs after the first; with `iterations`, objects are repeated to make that many."""
    from ssl_core.training.loop import train_epoch

    trial = CrossModalTrial(config, pack, 0, choose_device(config.training.device))
    if iterations is not None:
        trial.fit = np.resize(trial.fit, iterations * trial.batch_size)
        trial.steps_per_epoch = iterations
    session = trained(trial, config, CROSS_MODAL, pack, 0)
    shares = [
        train_epoch(session.training, trial.batches(epoch))["train/data_wait_share"] for epoch in range(epochs + 1)
    ]
    return Samples(tuple(shares[1:]))


def waiting_table(waits: dict[str, Samples]) -> Table:
    """One row per place of training."""
    rows = tuple((what, wait.text(lambda share: f"{100 * share:.2f} %")) for what, wait in waits.items())
    return Table(("epoch of training", "waits for data"), rows)
