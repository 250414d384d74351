"""Makes a DatasetPack: everything is checked first, then written beside its final place, then moved there whole."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ssl_core.data.features import rows_of
from ssl_core.data.gaussians import GaussianCloud
from ssl_core.data.images import read_image, resize_image
from ssl_core.data.layout import Problem, SplatObject, find_objects
from ssl_core.data.pack import (
    FileFacts,
    Pack,
    PackConfig,
    PackManifest,
    PackObject,
    Refused,
    content_digest,
    read_manifest,
)
from ssl_core.data.ply import read_gaussian_ply
from ssl_core.data.sampling import farthest_point_order, farthest_point_orders
from ssl_core.errors import DataError, PackError, PlyError, StorageError
from ssl_core.render.views import render_views

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """One object, ready to be stored."""

    rows: NDArray[np.float32]
    orders: NDArray[np.int32]
    views: NDArray[np.uint8]
    digest: str
    gaussians_in_file: int
    sh_degree: int
    has_sh_rest: bool


def write_pack(
    points: Path,
    images: Path | None,
    out: Path,
    config: PackConfig,
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Pack:
    """Pack a data set.

    Args:
        points: folder of Gaussian .ply files in a known layout (`layout.find_objects`).
        images: folder of views in the cross-modal reference's layout; None renders views from the Gaussians.
        out: folder to make. An equal pack already there is opened and returned.
        skip_bad: leave unusable objects out, recorded in the manifest, instead of stopping.
        progress: called with (done, total).

    Raises:
        PackError: inputs are unusable (all are listed), or `out` holds something else.
        StorageError: the disk is full.
    """
    objects, problems = find_objects(points, images)
    fingerprint = source_fingerprint(objects, problems, config)
    if (existing := _existing(out, fingerprint)) is not None:
        return existing
    if problems and not skip_bad:
        raise PackError(_listing(problems))
    size = _image_size(objects, config)
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    with _storage_errors(partial):
        partial.mkdir(parents=True)
        try:
            writer = _Writer(partial, objects, config, size)
            for done, item in enumerate(objects):
                writer.add(item)
                if progress is not None:
                    progress(done + 1, len(objects))
            refused = [*problems, *writer.refused]
            if writer.refused and not skip_bad:
                raise PackError(_listing(writer.refused))
            writer.finish(refused, fingerprint)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Pack.open(out)


def source_fingerprint(objects: list[SplatObject], problems: list[Problem], config: PackConfig) -> str:
    """Cheap identity of the inputs (paths, sizes, times, config): equal means nothing to do again."""
    digest = hashlib.sha256(config.to_json().encode())
    for item in objects:
        for file in (item.ply, *item.views):
            stat = file.stat()
            digest.update(f"{item.key} {file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    for problem in problems:
        digest.update(f"{problem.path} {problem.reason}\n".encode())
    return digest.hexdigest()[:16]


def prepare(item: SplatObject, config: PackConfig, image_size: int) -> Prepared:
    """Read, filter and order one object. Raises DataError (PlyError, ImageError) naming the file."""
    cloud = read_gaussian_ply(item.ply)
    kept = np.flatnonzero(cloud.alphas() > config.alpha_threshold)
    if len(kept) == 0:
        raise PlyError(
            f"{item.ply}: none of its {len(cloud)} Gaussians has alpha above {config.alpha_threshold}; "
            "lower --alpha-threshold or leave the object out (--skip-bad)"
        )
    digest = hashlib.sha256(item.ply.read_bytes())
    rng = np.random.default_rng([config.seed, int(hashlib.sha256(item.key.encode()).hexdigest()[:8], 16)])
    ordered = cloud.select(_farthest_first(cloud.xyz[kept], kept, config))
    views = _views(item, cloud, config, image_size, digest)
    cached = min(config.cached_points, len(ordered))
    orders = farthest_point_orders(ordered.xyz, cached, config.starts - 1, rng) if config.starts > 1 else None
    first = np.arange(cached, dtype=np.int32)[None]  # rows are stored in the first order already
    return Prepared(
        rows=rows_of(ordered),
        orders=first if orders is None else np.concatenate([first, orders]),
        views=views,
        digest=digest.hexdigest()[:16],
        gaussians_in_file=len(cloud),
        sh_degree=cloud.sh_degree,
        has_sh_rest=bool(np.any(cloud.sh_rest)),
    )


def _farthest_first(xyz: NDArray[np.float32], kept: NDArray[np.int64], config: PackConfig) -> NDArray[np.int64]:
    """Kept indices with the farthest-point prefix first, the rest behind it in file order."""
    prefix = farthest_point_order(xyz, min(config.cached_points, config.max_gaussians), 0)
    rest = np.setdiff1d(np.arange(len(xyz)), prefix, assume_unique=True)
    ordered: NDArray[np.int64] = kept[np.concatenate([prefix, rest])[: config.max_gaussians]]
    return ordered


def _views(
    item: SplatObject, cloud: GaussianCloud, config: PackConfig, size: int, digest: "hashlib._Hash"
) -> NDArray[np.uint8]:
    if not item.views:
        return np.ascontiguousarray(render_views(cloud, config.rendered_views, size).transpose(0, 3, 1, 2))
    views = []
    for file in item.views:
        digest.update(file.read_bytes())
        views.append(resize_image(read_image(file), size).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(views))


def _image_size(objects: list[SplatObject], config: PackConfig) -> int:
    if config.image_size is not None:
        return config.image_size
    for item in objects:
        for file in item.views[:1]:
            try:
                return int(min(read_image(file).shape[:2]))
            except DataError:
                continue  # reported with its reason when its object is prepared
    return config.rendered_size


def validation_keys(objects: list[PackObject], fraction: float) -> set[str]:
    """Keys of the train objects held out: per class the first by hash of the key, so adding objects moves few."""
    held: set[str] = set()
    by_class: dict[str, list[str]] = {}
    for item in objects:
        if item.split == "train":
            by_class.setdefault(item.class_name, []).append(item.key)
    for keys in by_class.values():
        ranked = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        held.update(ranked[: max(1, round(fraction * len(keys)))] if len(keys) > 1 else [])
    return held


class _Writer:
    """Appends prepared objects to raw files, then turns them into mapped arrays."""

    def __init__(self, folder: Path, objects: list[SplatObject], config: PackConfig, image_size: int) -> None:
        self.folder, self.config, self.image_size = folder, config, image_size
        self.refused: list[Problem] = []
        self._objects: list[PackObject] = []
        self._orders: list[NDArray[np.int32]] = []
        self._rest = True
        self._rows = self._views = 0
        self._row_file = (folder / "gaussians.raw").open("wb")
        self._view_file = (folder / "views.raw").open("wb")
        self._rendered = bool(objects) and not any(item.views for item in objects)

    def add(self, item: SplatObject) -> None:
        try:
            ready = prepare(item, self.config, self.image_size)
        except DataError as error:
            self.refused.append(Problem(path=item.key, reason=str(error)))
            return
        ready.rows.tofile(self._row_file)
        ready.views.tofile(self._view_file)
        self._orders.append(ready.orders)
        self._rest = self._rest and ready.has_sh_rest
        self._objects.append(
            PackObject(
                class_name=item.class_name,
                split=item.split,
                validation=False,
                name=item.name,
                source_digest=ready.digest,
                gaussians_in_file=ready.gaussians_in_file,
                first_row=self._rows,
                rows=len(ready.rows),
                sh_degree=ready.sh_degree,
                first_view=self._views,
                views=len(ready.views),
            )
        )
        self._rows += len(ready.rows)
        self._views += len(ready.views)

    def finish(self, refused: list[Problem], fingerprint: str) -> None:
        self._row_file.close()
        self._view_file.close()
        if not self._objects:
            raise PackError("no object is usable: " + _listing(refused))
        size = self.image_size
        _to_npy(self.folder / "gaussians.raw", (self._rows, 59), np.dtype(np.float32))
        wide = np.load(self.folder / "gaussians.npy")
        np.save(self.folder / "gaussians.npy", np.ascontiguousarray(wide[:, :14]))
        if self._rest:
            np.save(self.folder / "sh_rest.npy", np.ascontiguousarray(wide[:, 14:]))
        _to_npy(self.folder / "views.raw", (self._views, 3, size, size), np.dtype(np.uint8))
        longest = max(order.shape[1] for order in self._orders)
        orders = np.full((len(self._orders), self.config.starts, longest), -1, dtype=np.int32)
        for row, order in zip(orders, self._orders, strict=True):
            row[:, : order.shape[1]] = order
        np.save(self.folder / "orders.npy", orders, allow_pickle=False)
        held = validation_keys(self._objects, self.config.val_fraction)
        objects = tuple(item.model_copy(update={"validation": item.key in held}) for item in self._objects)
        groups = [
            "xyz",
            "opacity",
            "scale",
            "rotation",
            "sh_dc",
            *(["sh_rest"] if self._rest else []),
            "normals",
        ]
        names = ("gaussians.npy", "orders.npy", "views.npy", *(["sh_rest.npy"] if self._rest else []))
        files = {name: FileFacts(bytes=(self.folder / name).stat().st_size, blocks=()) for name in names}
        manifest = PackManifest(
            pack_digest=content_digest(self.config, objects, files),
            config=self.config,
            class_names=tuple(sorted({item.class_name for item in objects})),
            groups=tuple(groups),
            image_size=size,
            views_rendered=self._rendered,
            objects=objects,
            refused=tuple(Refused(path=problem.path, reason=problem.reason) for problem in refused),
            files=files,
        )
        (self.folder / "manifest.json").write_text(manifest.model_dump_json(indent=1))


def _to_npy(raw: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    """Rewrite a raw file as .npy in bounded memory, and remove it."""
    target = open_memmap(raw.with_suffix(".npy"), mode="w+", dtype=dtype, shape=shape)
    source = np.memmap(raw, dtype=dtype, mode="r", shape=shape)
    step = max(1, 2**26 // max(1, int(np.prod(shape[1:])) * dtype.itemsize))
    for start in range(0, shape[0], step):
        target[start : start + step] = source[start : start + step]
    target.flush()
    del source, target
    raw.unlink()


def _existing(out: Path, fingerprint: str) -> Pack | None:
    if not out.exists():
        return None
    return Pack.open(out)


def _listing(problems: list[Problem]) -> str:
    shown = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:20])
    more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
    return f"{len(problems)} unusable input(s): {shown}{more} (--skip-bad leaves them out and records it)"


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; free space or choose another --out") from error
