"""DatasetPack: a data set parsed, filtered, ordered and decoded once; every trial of a node maps it read-only.

manifest.json     written last; schema version, digest, objects, splits, what was refused and why
gaussians.npy     [rows, 59] float32, the kept Gaussians of each object in farthest-point order
orders.npy        [objects, starts, cached] int32, row numbers within the object, -1 after the last
views.npy         [views, 3, S, S] uint8
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.config import Config
from ssl_core.errors import ConfigError, InfeasibleError, PackError

SCHEMA_VERSION = 1
Split = Literal["train", "test", "fit", "val"]


class PackConfig(Config):
    """How a pack is made."""

    alpha_threshold: float = Field(default=0.05, ge=0, lt=1, description="Gaussians below this alpha are not kept")
    cached_points: int = Field(default=4096, ge=8, description="length of the cached farthest-point orders")
    starts: int = Field(default=4, ge=1, le=64, description="cached orders per object, each from another start")
    max_gaussians: int = Field(default=32768, ge=8, description="at most this many kept per object, farthest first")
    image_size: int | None = Field(default=None, ge=8, description="side in pixels; None: that of the first image")
    rendered_views: int = Field(default=12, ge=1, description="views rendered per object when no images are given")
    rendered_size: int = Field(default=64, ge=8, description="side of rendered views when image_size is not given")
    val_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of train held out for validation, per class"
    )
    seed: int = 0


class PackObject(Config):
    """One object of a pack."""

    class_name: str
    split: Literal["train", "test"]
    validation: bool
    name: str
    source_digest: str
    gaussians_in_file: int
    first_row: int
    rows: int
    sh_degree: int
    first_view: int
    views: int

    @property
    def key(self) -> str:
        """`class/split/name`, unique in a pack."""
        return f"{self.class_name}/{self.split}/{self.name}"


class Refused(Config):
    """An input that was left out, and why."""

    path: str
    reason: str


class PackManifest(Config):
    """What a pack holds. `pack_digest` identifies its content: same input and config, same digest."""

    schema_version: int = SCHEMA_VERSION
    pack_digest: str
    source_fingerprint: str
    config: PackConfig
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    image_size: int
    views_rendered: bool
    objects: tuple[PackObject, ...]
    refused: tuple[Refused, ...] = ()
    files: dict[str, int]


def content_digest(config: PackConfig, objects: tuple[PackObject, ...], image_size: int) -> str:
    """sha256 (16 hex digits) over config and per-object facts, which include the digests of the source bytes."""
    facts = [config.to_json(), str(image_size), *(item.to_json() for item in objects)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


class Pack:
    """A read-only view of a pack on disk. Open with `Pack.open`."""

    def __init__(self, path: Path, manifest: PackManifest) -> None:
        self.path = path
        self.manifest = manifest
        self.gaussians: NDArray[np.float32] = np.load(path / "gaussians.npy", mmap_mode="r", allow_pickle=False)
        self.orders: NDArray[np.int32] = np.load(path / "orders.npy", mmap_mode="r", allow_pickle=False)
        self.views: NDArray[np.uint8] = np.load(path / "views.npy", mmap_mode="r", allow_pickle=False)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Raises PackError when there is no pack, when it is half-written, changed in size, or of another schema."""
        path = Path(path)
        manifest = read_manifest(path)
        for name, size in manifest.files.items():
            found = (path / name).stat().st_size if (path / name).is_file() else None
            if found != size:
                raise PackError(f"{path / name}: {size} bytes expected, {found} found; make the pack again")
        return cls(path, manifest)

    @property
    def digest(self) -> str:
        """Identity of the content: same input and config, same digest."""
        return self.manifest.pack_digest

    @property
    def image_size(self) -> int:
        """Side of the stored views in pixels."""
        return self.manifest.image_size

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """[objects] class index into `manifest.class_names`."""
        index = {name: i for i, name in enumerate(self.manifest.class_names)}
        return np.array([index[item.class_name] for item in self.manifest.objects], dtype=np.int64)

    @cached_property
    def num_views(self) -> NDArray[np.int64]:
        """[objects] number of views."""
        return np.array([item.views for item in self.manifest.objects], dtype=np.int64)

    @cached_property
    def first_view(self) -> NDArray[np.int64]:
        """[objects] index of the first view in `views`."""
        return np.array([item.first_view for item in self.manifest.objects], dtype=np.int64)

    @cached_property
    def first_row(self) -> NDArray[np.int64]:
        """[objects] index of the first row in `gaussians`."""
        return np.array([item.first_row for item in self.manifest.objects], dtype=np.int64)

    def objects(self, split: Split) -> NDArray[np.int64]:
        """Indices of a split. `fit` and `val` partition `train`."""
        wanted = [
            i
            for i, item in enumerate(self.manifest.objects)
            if split == item.split or (item.split == "train" and split == ("val" if item.validation else "fit"))
        ]
        return np.array(wanted, dtype=np.int64)

    def rows_of(self, index: int) -> NDArray[np.float32]:
        """[rows, 59] mapped rows of one object."""
        item = self.manifest.objects[index]
        return self.gaussians[item.first_row : item.first_row + item.rows]

    def views_of(self, index: int) -> NDArray[np.uint8]:
        """[V, 3, S, S] mapped views of one object."""
        item = self.manifest.objects[index]
        return self.views[item.first_view : item.first_view + item.views]

    def check_threshold(self, alpha_threshold: float) -> None:
        """Raises InfeasibleError when the pack has already dropped Gaussians that the threshold would keep."""
        kept = self.manifest.config.alpha_threshold
        if alpha_threshold < kept:
            raise InfeasibleError(
                f"alpha_threshold {alpha_threshold} is below the pack's {kept}; "
                f"raise it or make the pack with --alpha-threshold {alpha_threshold}"
            )


def read_manifest(path: Path) -> PackManifest:
    """The manifest of a pack folder. Raises PackError naming what is missing and the remedy."""
    file = path / "manifest.json"
    if not file.is_file():
        hint = "it is half-written; make it again" if path.is_dir() else "make it with `splatsweep pack`"
        raise PackError(f"{path} is not a pack (no manifest.json): {hint}")
    try:
        values = json.loads(file.read_text())
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise PackError(f"{path} has pack schema {version}, this version reads {SCHEMA_VERSION}; make it again")
        return PackManifest.from_json(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, ConfigError) as error:
        raise PackError(f"{file} is damaged ({error}); make the pack again") from None
