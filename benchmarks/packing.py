"""How fast one core packs a data set, where its time goes, and whether time and memory grow as they should."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.objects import Made, files_of, write_objects
from benchmarks.table import Section, Table, digits, seconds
from ssl_core.data.object_pack import PackConfig
from ssl_core.files.image_files import write_image
from ssl_core.gaussians.formats.gaussian_properties import INRIA_PROPERTIES
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.meshes.household import CLASSES

ROOT = Path(__file__).resolve().parents[1]
PACKED = 2
"""Classes of the data set; the objects of each are hard links to a few different ones."""

SPEED_BAR, MEMORY_BAR = 10.0, 1.5e9


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    objects: tuple[int, ...] = (100, 400, 1600)
    distinct: int = 8
    gaussians: int = 15_000
    views: int = 64
    image: int = 128
    largest: int = 3_000_000


QUICK = Sizes(objects=(4, 8), distinct=2, gaussians=1500, views=4, image=32, largest=20_000)


@dataclass(frozen=True)
class Packed:
    """One run in a process of its own on one core."""

    objects: int
    wall: float
    cpu: float
    assembling: float
    work: dict[str, float]
    peak: float
    start: float


def measure(quick: bool = False) -> Section:
    """Packs of growing size, each from scratch, and one file with as many Gaussians as are allowed."""
    sizes = QUICK if quick else Sizes()
    with tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        root = Path(folder)
        write_distinct(root, sizes)
        runs = []
        for count in sizes.objects:
            link_up_to(root, sizes, count)
            runs.append(pack_alone(root / "points", root / "images", root / "pack"))
        shutil.rmtree(root / "points")
        write_largest(root, sizes.largest)
        largest = pack_alone(root / "points", root / "images", root / "pack")
    return Section(
        title="Packing",
        shows=f"Objects per second and core from .ply files of {sizes.gaussians:,} Gaussians (spherical harmonics of "
        f"degree 3, all opaque enough to be kept) and {sizes.views} PNG files of {sizes.image} px, with the default "
        "4 farthest-point orders of 4,096: everything from listing the folder to the pack in its place.",
        baseline=f"The bars: {SPEED_BAR:.0f} objects per second and core, {MEMORY_BAR / 1e9:.1f} GB per worker, and "
        "equal seconds per object however many there are.",
        tables=(growth_table(runs), share_table(runs)),
        notes=(
            "One process on one core; the CPU column counts user and system time. Files are in the disk's cache, and "
            f"objects are hard links to {sizes.distinct} different ones. A file of {sizes.largest:,} Gaussians, the "
            f"most that is read, took {seconds(largest.wall)} and {megabytes(largest.peak)}.",
        ),
        missed=() if quick else tuple(missed(runs, largest)),
    )


def missed(runs: list[Packed], largest: Packed) -> list[str]:
    """Bars that were not kept."""
    found = []
    best = max(run.objects / run.wall for run in runs)
    if best < SPEED_BAR:
        found.append(f"packing makes {digits(best)} objects per second and core; the bar is {SPEED_BAR:.0f}")
    highest = max(run.peak for run in (*runs, largest))
    if highest > MEMORY_BAR:
        found.append(f"packing takes {megabytes(highest)} of memory; the bar is {megabytes(MEMORY_BAR)}")
    growth = (runs[-1].cpu / runs[-1].objects) / (runs[0].cpu / runs[0].objects)
    if growth > 1.25:
        found.append(f"CPU time per object grows {growth:.2f} times from {runs[0].objects} to {runs[-1].objects}")
    return found


def growth_table(runs: list[Packed]) -> Table:
    """Time and memory by number of objects."""
    header = ("objects", "wall", "objects/s", "CPU per object", "objects/s of CPU", "peak memory", "above its start")
    rows = [
        (
            f"{run.objects:,}",
            seconds(run.wall),
            digits(run.objects / run.wall),
            seconds(run.cpu / run.objects),
            digits(run.objects / run.cpu),
            megabytes(run.peak),
            megabytes(run.peak - run.start),
        )
        for run in runs
    ]
    return Table(header, tuple(rows))


def share_table(runs: list[Packed]) -> Table:
    """Milliseconds per object and kind of work."""
    kinds = ("parse", "sample", "decode", "write")
    rows = []
    for run in runs:
        parts = [run.work.get(kind, 0.0) for kind in kinds] + [run.assembling]
        other = max(0.0, run.wall - sum(parts))
        cells = [f"{seconds(part / run.objects)} ({part / run.wall:.0%})" for part in (*parts, other)]
        rows.append((f"{run.objects:,}", *cells))
    return Table(("objects", *kinds, "put together", "rest (listing, stamps)"), tuple(rows))


def megabytes(value: float) -> str:
    """`123 MB`."""
    return f"{value / 1e6:.0f} MB"


def write_distinct(root: Path, sizes: Sizes) -> None:
    """A few different objects, with colours that depend on the direction."""
    each = sizes.distinct // PACKED
    write_objects(root, Made(PACKED, each, 0, sizes.gaussians, 0.5, sizes.views, sizes.image))
    rng = np.random.default_rng(0)
    for file in sorted((root / "points").rglob("*.ply")):
        cloud = read_gaussians(file).cloud
        rest = rng.normal(0, 0.1, (len(cloud), 15, 3)).astype(np.float32)
        write_gaussian_ply(file, dataclasses.replace(cloud, sh_rest=rest))


def link_up_to(root: Path, sizes: Sizes, objects: int) -> None:
    """Hard links under further names, until there are so many objects."""
    each = sizes.distinct // PACKED
    for class_name in CLASSES[:PACKED]:
        for number in range(each, objects // PACKED):
            there, here = (
                files_of(root, class_name, "train", f"{class_name}_{i:04d}", sizes.views)
                for i in (number % each, number)
            )
            if here[0].exists():
                continue
            here[0].parent.mkdir(parents=True)
            here[1][0].parent.mkdir(parents=True)
            for old, new in zip((there[0], *there[1]), (here[0], *here[1]), strict=True):
                os.link(old, new)


def write_largest(root: Path, gaussians: int) -> None:
    """One file in INRIA's format, written by blocks, beside one small picture."""
    file, pictures = files_of(root, CLASSES[0], "train", "largest", 1)
    file.parent.mkdir(parents=True)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {gaussians}"]
    header += [f"property float {name}" for name in INRIA_PROPERTIES]
    rng = np.random.default_rng(0)
    with file.open("wb") as stream:
        stream.write("\n".join([*header, "end_header\n"]).encode())
        for start in range(0, gaussians, 100_000):
            rows = min(100_000, gaussians - start)
            stream.write(rng.normal(size=(rows, len(INRIA_PROPERTIES))).astype("<f4").tobytes())
    shutil.rmtree(root / "images")
    write_image(pictures[0], np.full((16, 16, 3), 255, dtype=np.uint8))


def pack_alone(points: Path, images: Path, out: Path) -> Packed:
    """Pack in a new process on one core; the pack is removed."""
    words = [sys.executable, "-m", "benchmarks.packing", *map(str, (points, images, out))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    shutil.rmtree(out)
    return Packed(**json.loads(done.stdout))


def child(points: Path, images: Path, out: Path) -> Packed:
    """The work of that process."""
    import time

    from ssl_core.packing.pack_writer import PackJob, build_here, make_pack

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    start = peak_memory()
    cpu = time.process_time()
    pack, stats = make_pack(PackJob(points, images, out, PackConfig()), build_here)
    return Packed(
        objects=len(pack.manifest.objects),
        wall=stats.seconds,
        cpu=time.process_time() - cpu,
        assembling=stats.assembling,
        work=stats.work,
        peak=peak_memory(),
        start=start,
    )


def peak_memory() -> float:
    """Bytes this process has held at most. From /proc where there is one: getrusage also counts the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024.0 * float(line.split()[1])
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(child(*map(Path, sys.argv[1:])))))
