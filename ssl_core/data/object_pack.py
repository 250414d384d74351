"""DatasetPack: a data set parsed, filtered, ordered and decoded once; every trial of a node maps it read-only.

manifest.json     written last; schema version, digests, objects, splits, what was refused and why
gaussians.npy     [rows, 14] float32, the kept Gaussians of each object in farthest-point order: xyz, opacity logit,
                  log-scales, quaternion wxyz, f_dc; plain points as discs or balls, see `GAUSSIAN_GROUPS`
sh_rest.npy       [rows, 45] float32, channel-major; only when every object carries it
orders.npy        [objects, starts, cached] int32, row numbers within the object, -1 after the last
views.npy         [views, 3, S, S] uint8, perhaps no view at all; or, with a codec, views.bin and view_offsets.npy
                  ([views + 1] int64)
part_labels.npy   [rows] int16, 255 for none; only when every object carries them, as the following
masks.npy         [views, S, S] uint8, 255 where the object covers the pixel fully
viewmats.npy      [views, 4, 4] float64, world -> camera, and intrinsics.npy, [views, 3, 3] float64, in stored pixels

What a trial does not ask for is never touched: one that learns from xyz reads 56 bytes per Gaussian, not 236.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssl_core.config import Config
from ssl_core.data.manifest import FileFacts, Manifest, as_manifest, check_sizes, read_values
from ssl_core.data.pack_arrays import GEOMETRY_WIDTH, ROW_WIDTH, SH_REST_WIDTH, Codec, open_array, open_views
from ssl_core.errors import InfeasibleError, PackError
from ssl_core.gaussians.formats.spz_axes import SpzAxes
from ssl_core.scenes.cameras import Camera

MESH_VIEW_SIZE = 128
"""Side of the views of meshes where none is asked for: such pictures are sharper than those of splats."""
VOID = 255
"""Part label of what belongs to no part."""
Split = Literal["train", "test", "fit", "val"]


class PackConfig(Config):
    """How a pack is made."""

    alpha_threshold: float = Field(default=0.05, ge=0, lt=1, description="Gaussians below this alpha are not kept")
    cached_points: int = Field(default=4096, ge=8, description="length of the cached farthest-point orders")
    starts: int = Field(default=4, ge=1, le=64, description="cached orders per object, each from another start")
    max_gaussians: int = Field(
        default=32768,
        ge=8,
        description="at most this many kept per object: farthest points first, the rest drawn uniformly",
    )
    image_size: int | None = Field(default=None, ge=8, description="side in pixels; None: that of the first image")
    rendered_views: int = Field(default=12, ge=1, description="views rendered per object when no images are given")
    rendered_size: int = Field(default=64, ge=8, description="side of rendered views when image_size is not given")
    val_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of train held out for validation, per class"
    )
    codec: Codec = Field(
        default="raw", description="how views are stored: raw bytes, or jpeg or webp when disk matters"
    )
    seed: int = 0
    surface_points: int | None = Field(
        default=None,
        ge=8,
        exclude_if=lambda points: points is None,  # packs that were made without the option keep their digest
        description="points per mesh, where meshes are packed; None: the files hold Gaussians or points",
    )
    spz_axes: SpzAxes | None = Field(
        default=None,
        exclude_if=lambda axes: axes is None,  # packs that were made without the option keep their digest
        description="axes of .spz files that do not name theirs: rub or ply; None: by a .ply beside, else rub",
    )


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


class PackManifest(Manifest):
    """What a pack of objects holds."""

    FILES: ClassVar = frozenset(
        ("gaussians.npy", "sh_rest.npy", "orders.npy", "views.npy", "views.bin",
         "view_offsets.npy", "part_labels.npy", "masks.npy", "viewmats.npy", "intrinsics.npy")
    )  # fmt: skip

    kind: Literal["object"] = "object"
    config: PackConfig
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    image_size: int
    views_rendered: bool
    objects: tuple[PackObject, ...]
    dropped_rows: dict[str, int] = Field(
        default={}, description="key of an object -> Gaussians of its file that cannot be used and were left out"
    )

    def identity(self) -> Iterable[Config]:
        """The config and the facts of each object."""
        return self.config, *self.objects


class Pack:
    """A read-only view of a pack on disk. Open with `Pack.open`."""

    def __init__(self, path: Path, manifest: PackManifest, without: frozenset[str] = frozenset()) -> None:
        if "sh_rest.npy" in without:
            files = {name: facts for name, facts in manifest.files.items() if name != "sh_rest.npy"}
            groups = tuple(group for group in manifest.groups if group != "sh_rest")
            manifest = manifest.model_copy(update={"files": files, "groups": groups})
        check_sizes(path, manifest)
        self.path = path
        self.manifest = manifest
        self.gaussians: NDArray[np.float32] = open_array(path / "gaussians.npy", np.float32, (None, GEOMETRY_WIDTH))
        self.sh_rest: NDArray[np.float32] | None = None
        if "sh_rest.npy" in manifest.files:
            self.sh_rest = open_array(path / "sh_rest.npy", np.float32, (len(self.gaussians), SH_REST_WIDTH))
        self.orders: NDArray[np.int32] = open_array(
            path / "orders.npy", np.int32, (len(manifest.objects), manifest.config.starts, None)
        )
        self.views = open_views(path, manifest.config.codec, manifest.image_size)
        self._check_spans()

    @classmethod
    def open(cls, path: Path | str, without: frozenset[str] = frozenset()) -> Self:
        """Map a pack folder.

        Args:
            path: the folder.
            without: optional files that were left behind (sh_rest.npy); the pack then lacks their feature group.

        Raises:
            PackError: there is no pack, or it is half-written, changed in size, or of another schema.
        """
        return cls(Path(path), as_manifest(PackManifest, *read_values(Path(path))), without)

    def _check_spans(self) -> None:
        """Raises PackError when the manifest speaks of rows, views or classes that are not there."""
        rows, views, classes = len(self.gaussians), len(self.views), set(self.manifest.class_names)
        if len(classes) != len(self.manifest.class_names):
            raise PackError(f"{self.path}/manifest.json: names a class twice; make the pack again")
        for item in self.manifest.objects:
            there = 0 <= item.first_row <= item.first_row + item.rows <= rows
            seen = 0 <= item.first_view <= item.first_view + item.views <= views
            if not (there and seen and item.class_name in classes):
                raise PackError(
                    f"{self.path}/manifest.json: object {item.key[:80]!a} has rows, views or a class that "
                    "the pack lacks; make the pack again"
                )

    @property
    def digest(self) -> str:
        """Identity of the content: same input and config, same digest."""
        return self.manifest.pack_digest

    @property
    def files(self) -> dict[str, FileFacts]:
        """Name within the folder -> length and digests of its blocks."""
        return self.manifest.files

    @property
    def image_size(self) -> int:
        """Side of the stored views in pixels."""
        return self.manifest.image_size

    @cached_property
    def part_labels(self) -> NDArray[np.int16] | None:
        """[rows] the part that each row belongs to, VOID for none; None when the pack has no part labels."""
        return self._extra("part_labels.npy", np.int16, (len(self.gaussians),))

    @cached_property
    def masks(self) -> NDArray[np.uint8] | None:
        """[views, S, S] how much of each pixel the object covers, 255 for all; None when the pack has no masks."""
        return self._extra("masks.npy", np.uint8, (len(self.views), self.image_size, self.image_size))

    def camera(self, view: int) -> Camera | None:
        """The camera of a row of `views`, in object units and stored pixels; None when the pack has no cameras."""
        if self._viewmats is None or self._intrinsics is None:
            return None
        size = self.image_size
        return Camera(np.array(self._viewmats[view]), np.array(self._intrinsics[view]), size, size)

    @cached_property
    def _viewmats(self) -> NDArray[np.float64] | None:
        return self._extra("viewmats.npy", np.float64, (len(self.views), 4, 4))

    @cached_property
    def _intrinsics(self) -> NDArray[np.float64] | None:
        return self._extra("intrinsics.npy", np.float64, (len(self.views), 3, 3))

    def _extra(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any] | None:
        """An optional file, mapped when it is first asked for. Raises PackError for one that is damaged."""
        return open_array(self.path / name, dtype, shape) if name in self.files else None

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

    @cached_property
    def num_rows(self) -> NDArray[np.int64]:
        """[objects] number of rows in `gaussians`."""
        return np.array([item.rows for item in self.manifest.objects], dtype=np.int64)

    def objects(self, split: Split) -> NDArray[np.int64]:
        """Indices of a split. `fit` and `val` partition `train`."""
        wanted = [
            i
            for i, item in enumerate(self.manifest.objects)
            if split == item.split or (item.split == "train" and split == ("val" if item.validation else "fit"))
        ]
        return np.array(wanted, dtype=np.int64)

    def rows_of(self, index: int) -> NDArray[np.float32]:
        """[rows, 59] the rows of one object with all columns (`features.COLUMNS`), a copy; absent ones are zero."""
        item = self.manifest.objects[index]
        span = slice(item.first_row, item.first_row + item.rows)
        rows = np.zeros((item.rows, ROW_WIDTH), dtype=np.float32)
        rows[:, :GEOMETRY_WIDTH] = self.gaussians[span]
        if self.sh_rest is not None:
            rows[:, GEOMETRY_WIDTH:] = self.sh_rest[span]
        return rows

    def check_threshold(self, alpha_threshold: float) -> None:
        """Raises InfeasibleError when the pack has already dropped Gaussians that the threshold would keep."""
        kept = self.manifest.config.alpha_threshold
        if alpha_threshold < kept:
            raise InfeasibleError(
                f"alpha_threshold {alpha_threshold} is below the pack's {kept}; "
                f"raise it or make the pack with --alpha-threshold {alpha_threshold}"
            )
