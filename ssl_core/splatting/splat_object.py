"""One mesh to views and fitted Gaussians on disk, in the cross-modal reference's layout.

OUT/points/<class>/<split>/<name>/point_cloud/iteration_30000/point_cloud.ply
OUT/images/<class>/<split>/<name>/images/000.png ..., masks/000.png ... and cameras.json
OUT/points/<class>/<split>/<name>/splat.json      written last: what is here is whole, and how good it is
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ssl_core.config import Config
from ssl_core.errors import MeshError
from ssl_core.files.whole import atomic_write
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.meshes.mesh import Mesh, mesh_bytes
from ssl_core.meshes.mesh_file import read_mesh
from ssl_core.packing.layout import MeshObject, mask_path, ply_path, view_path
from ssl_core.render.fit import FitConfig, fit_gaussians, mean_psnr
from ssl_core.render.mesh_raster import MeshView, render_mesh_views
from ssl_core.scenes.cameras import Camera, orbit_cameras
from ssl_core.splatting.object_views import write_views
from ssl_core.splatting.surface_init import surface_gaussians

FORMAT_VERSION = 1
ALL_AROUND = (-30.0, 75.0)
"""Elevations, in degrees, of the views that are only fitted to: from below the horizon too."""


class SplatConfig(Config):
    """How a mesh becomes views and Gaussians."""

    views: int = Field(default=8, ge=1, le=1000, description="views written as images, all above the horizon")
    image_size: int = Field(default=128, ge=8, le=2048, description="pixels of the written images")
    fit_size: int = Field(default=128, ge=16, le=2048, description="pixels of the views that are fitted to")
    fit_views: int = Field(default=32, ge=1, le=1000, description="views fitted to, the written ones among them")
    heldout_views: int = Field(default=8, ge=1, le=1000, description="views that only measure the fit")
    seed: int = Field(default=0, ge=0, description="of the cameras and of the points the fit starts from")
    fit: FitConfig = FitConfig()


class SplatReport(Config):
    """What became of one mesh. PSNR in dB, mean over held-out views at `fit_size` on white."""

    key: str
    seconds: float
    psnr_heldout: float
    psnr_initial: float
    gaussians: int
    skipped: bool = False


@dataclass(frozen=True)
class Views:
    """Cameras with what they see of a mesh."""

    cameras: list[Camera]
    views: list[MeshView]

    @property
    def images(self) -> NDArray[np.float32]:
        """[V, H, W, 3] float32 in [0, 1]."""
        return np.stack([view.rgb for view in self.views])


def splat_object(item: MeshObject, out: Path, config: SplatConfig, *, device: str | None = None) -> SplatReport:
    """Write views and fitted Gaussians of one mesh under `out`, unless they are there and whole.

    What is there counts as whole if it was finished with the same config from the same mesh. `out` gets the folders
    `points` and `images`. The fit runs on `device`, by default CUDA where there is one.

    Raises:
        MeshError: the mesh cannot be read or nothing of it can be seen.
        StorageError: the disk is full or not writable.
        DivergedError: the fit became non-finite.
    """
    out = Path(out)
    digest = _digest(item, config)
    finished = _finished(item, out, config, digest)
    if finished is not None:
        return finished
    started = time.perf_counter()
    _clear(item, out)
    mesh = read_mesh(item.source).normalised()
    written, fitted, heldout = _look(mesh, config)
    if not any(np.isfinite(view.depth).any() for view in fitted.views):
        raise MeshError(f"{item.source}: none of its faces covers a pixel; leave it out")
    write_views(out / "images", (item.class_name, item.split, item.name), written.cameras, written.views)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(config.seed)
    init = surface_gaussians(mesh, fitted.cameras, fitted.views, config.fit.gaussians, rng)
    result = fit_gaussians(fitted.images, fitted.cameras, init, config.fit, device=device)
    write_gaussian_ply(ply_path(out / "points", item.class_name, item.split, item.name), result.cloud)
    report = SplatReport(
        key=item.key,
        psnr_initial=mean_psnr(init, heldout.images, heldout.cameras, device=device),
        psnr_heldout=mean_psnr(result.cloud, heldout.images, heldout.cameras, device=device),
        gaussians=len(result.cloud),
        seconds=time.perf_counter() - started,
    )
    stored = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "source": item.source.name,
        "report": report.model_dump(mode="json"),
        "config": config.model_dump(mode="json"),
    }
    with atomic_write(_report_path(item, out)) as stream:
        stream.write(json.dumps(stored, indent=1, sort_keys=True).encode())
    return report


def _look(mesh: Mesh, config: SplatConfig) -> tuple[Views, Views, Views]:
    """The written, the fitted and the held-out views. The written ones are fitted too, first."""
    first = orbit_cameras(config.views, config.fit_size, seed=config.seed)[: config.fit_views]
    more = config.fit_views - len(first)
    if more:
        first += orbit_cameras(more, config.fit_size, seed=config.seed + 1, elevations=ALL_AROUND)
    fitted = Views(first, render_mesh_views(mesh, first))
    cameras = orbit_cameras(config.heldout_views, config.fit_size, seed=config.seed + 2, elevations=ALL_AROUND)
    heldout = Views(cameras, render_mesh_views(mesh, cameras))
    if config.image_size == config.fit_size and config.views <= config.fit_views:
        return Views(first[: config.views], fitted.views[: config.views]), fitted, heldout
    cameras = orbit_cameras(config.views, config.image_size, seed=config.seed)
    return Views(cameras, render_mesh_views(mesh, cameras)), fitted, heldout


def _digest(item: MeshObject, config: SplatConfig) -> str:
    """Of the config and the mesh file: 16 hex digits."""
    return hashlib.sha256(f"{FORMAT_VERSION} {config.digest()} ".encode() + mesh_bytes(item.source)).hexdigest()[:16]


def _report_path(item: MeshObject, out: Path) -> Path:
    return out / "points" / item.class_name / item.split / item.name / "splat.json"


def _finished(item: MeshObject, out: Path, config: SplatConfig, digest: str) -> SplatReport | None:
    """The report of an object that is whole."""
    try:
        stored: dict[str, Any] = json.loads(_report_path(item, out).read_text())
        report = SplatReport.model_validate(stored["report"] | {"skipped": True})
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    files = [ply_path(out / "points", item.class_name, item.split, item.name)]
    files += [view_path(out / "images", item.class_name, item.split, item.name, index) for index in range(config.views)]
    whole = stored.get("digest") == digest and all(file.is_file() for file in files)
    return report if whole else None


def _clear(item: MeshObject, out: Path) -> None:
    """Take back the word that the object is whole, then its views and masks: there may be fewer now."""
    _report_path(item, out).unlink(missing_ok=True)
    at = out / "images", item.class_name, item.split, item.name
    for folder in (view_path(*at, 0).parent, mask_path(*at, 0).parent):
        for stale in folder.glob("[0-9][0-9][0-9]*.png"):
            stale.unlink()
