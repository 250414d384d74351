"""How long a mesh takes to become views and Gaussians, and how good they are on views nobody fitted to."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.table import Comparison, Samples, Section, Table, ratio_table, seconds
from benchmarks.timing import one_thread
from ssl_core.files.source import FileSource
from ssl_core.meshes.household import CLASSES, household_mesh
from ssl_core.meshes.mesh import Mesh
from ssl_core.packing.layout import MeshObject, find_meshes
from ssl_core.render.fit import FitConfig
from ssl_core.splatting.splat_object import SplatConfig, SplatReport, splat_object

MESHES = Path(__file__).resolve().parents[2] / "shared" / "data" / "modelnet10_off"
"""Real meshes beside the checkout; without them household meshes are measured."""

QUICK = SplatConfig(
    views=2, image_size=16, fit_size=16, fit_views=4, heldout_views=2, fit=FitConfig(gaussians=60, steps=3)
)


@dataclass(frozen=True)
class Splatted:
    """One object, with the time it took."""

    report: SplatReport
    wall: float
    cpu: float


def measure(quick: bool = False) -> Section:
    """One object of each class with the default settings; one object with tiny settings when quick."""
    config = QUICK if quick else SplatConfig()
    with one_thread(), tempfile.TemporaryDirectory(prefix="splatsweep-bench-") as folder:
        root = Path(folder)
        real = MESHES.is_dir() and not quick
        items = one_per_class(MESHES) if real else write_household_meshes(root / "meshes", 1 if quick else len(CLASSES))
        done = [splat(item, root / "out", config) for item in items]
    kind = "real meshes of ModelNet10" if real else "procedural household meshes"
    fit = config.fit
    return Section(
        title="Splatting",
        shows=f"Seconds and quality per object for {len(done)} {kind}, one per class, everything included: reading, "
        f"{config.fit_views} + {config.heldout_views} views of {config.fit_size} px, {fit.steps} steps on "
        f"{fit.gaussians:,} Gaussians, writing.",
        baseline="The baseline is where the fit starts: Gaussians sampled on the mesh's surface with the colours seen "
        "there; the error is that of views not fitted to, on white.",
        tables=(ratio_table([error_row(done)], "before the fit"), object_table(done)),
        notes=("One thread; CPU time counts user and system time of the process.",),
    )


def splat(item: MeshObject, out: Path, config: SplatConfig) -> Splatted:
    """Splat one mesh on the CPU and take both times."""
    wall, cpu = time.perf_counter(), time.process_time()
    report = splat_object(item, out, config, device="cpu")
    return Splatted(report, time.perf_counter() - wall, time.process_time() - cpu)


def error_row(done: list[Splatted]) -> Comparison:
    """Mean squared errors from the reports' PSNRs, one per object."""

    def errors(psnr: list[float]) -> Samples:
        return Samples(tuple(10 ** (-value / 10) for value in psnr))

    fitted = errors([each.report.psnr_heldout for each in done])
    before = errors([each.report.psnr_initial for each in done])
    return Comparison("squared error on held-out views", fitted, before, show=lambda value: f"{value:.2g}")


def object_table(done: list[Splatted]) -> Table:
    """One row per object, and the median (minimum to maximum) below."""
    rows = [
        (
            each.report.key,
            seconds(each.wall),
            seconds(each.cpu),
            _decibels(each.report.psnr_initial),
            _decibels(each.report.psnr_heldout),
            _gain(each.report.psnr_heldout - each.report.psnr_initial),
        )
        for each in done
    ]
    before = Samples(tuple(each.report.psnr_initial for each in done))
    after = Samples(tuple(each.report.psnr_heldout for each in done))
    gain = Samples(tuple(b - a for a, b in zip(before.values, after.values, strict=True)))
    summary = (
        "median",
        Samples(tuple(each.wall for each in done)).text(seconds),
        Samples(tuple(each.cpu for each in done)).text(seconds),
        before.text(_decibels),
        after.text(_decibels),
        gain.text(_gain),
    )
    header = ("object", "wall time", "CPU time", "PSNR before the fit", "PSNR on held-out views", "gain")
    return Table(header, (*rows, summary))


def _decibels(value: float) -> str:
    return f"{value:.1f} dB"


def _gain(value: float) -> str:
    return f"{value:+.1f} dB"


def one_per_class(root: Path) -> list[MeshObject]:
    """The first test mesh by name of each class."""
    found: dict[str, MeshObject] = {}
    for item in find_meshes(root)[0]:
        if item.split == "test":
            found.setdefault(item.class_name, item)
    return list(found.values())


def write_household_meshes(root: Path, count: int) -> list[MeshObject]:
    """One procedural mesh of each of the first `count` classes, as OFF files."""
    items = []
    for class_name in CLASSES[:count]:
        item = MeshObject(class_name, "test", f"{class_name}_0001", FileSource(root / f"{class_name}.off"))
        write_off(root / f"{class_name}.off", household_mesh(class_name, np.random.default_rng(0)))
        items.append(item)
    return items


def write_off(path: Path, mesh: Mesh) -> None:
    """An OFF file with face colours from 0 to 255."""
    colours = np.rint(mesh.face_colours * 255).astype(int)
    lines = ["OFF", f"{len(mesh.vertices)} {len(mesh.faces)} 0"]
    lines += [" ".join(map(str, vertex)) for vertex in mesh.vertices.tolist()]
    lines += [
        " ".join(map(str, [3, *face, *colour]))
        for face, colour in zip(mesh.faces.tolist(), colours.tolist(), strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
