"""ScenePack: pictures of one or several scenes with their cameras, decoded and undistorted once; every trial of a node
maps it.

manifest.json       written last; schema version, digests, scenes and views with their splits, classes, what was refused
images.bin          each view in turn: its pixels [H, W, 3] uint8; or, with a codec, its encoded picture
image_offsets.npy   [views + 1] int64: where each view begins in images.bin, and where the last one ends
viewmats.npy        [views, 4, 4] float64, world -> camera, OpenCV axes
intrinsics.npy      [views, 3, 3] float64, in pixels of the stored pictures
masks.bin           each view in turn: [H, W] uint8, 255 where a pixel counts fully; only when the scene has masks
labels.bin          each view in turn: [H, W] uint8, the number of a class or VOID; only when some view has labels
depth.bin           each view in turn: [H, W] float32, see `ScenePack.depth`; only when some view has depth
points_xyz.npy      [points, 3] float64 and points_colours.npy, [points, 3] uint8; only when the cameras bring points;
                    those of each scene in turn

Pictures may have any size, each its own. Each scene has a world of its own: nothing is centred, turned or scaled.
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
from ssl_core.data.pack_arrays import Codec, open_array
from ssl_core.errors import PackError
from ssl_core.files.image_files import decode_image
from ssl_core.scenes.cameras import Camera, CameraScene, CameraView, SceneFormat, ScenePoints

Pixels = NDArray[np.uint8]
ViewSplit = Literal["train", "val", "test"]
"""Of a view within its scene, and of a scene among others."""

VOID = 255
"""Label of a pixel of no class; so a pack has at most 255 classes."""


class ScenePackConfig(Config):
    """How a scene is packed."""

    max_side: int | None = Field(
        default=None, ge=8, description="longer side of stored pictures at most; larger ones are shrunk"
    )
    holdout: int = Field(
        default=8, ge=2, description="every so manyth view is for test and, of the rest, for val, unless files say"
    )
    codec: Codec = Field(
        default="raw", description="how pictures are stored: raw pixels, or jpeg or webp when disk matters"
    )
    # packs that were made without the options below keep their digest
    downscale: Literal[1, 2, 4, 8] = Field(
        default=1,
        exclude_if=lambda factor: factor == 1,
        description="sides of stored pictures are this many times smaller than those of the files",
    )
    depth_scale: float = Field(
        default=1e-3,
        gt=0,
        allow_inf_nan=False,
        exclude_if=lambda scale: scale == 1e-3,
        description="world units per unit of a 16-bit depth picture; the default is of millimetres in metres",
    )
    val_scenes: tuple[str, ...] | float = Field(
        default=0.25,
        exclude_if=lambda share: share == 0.25,
        description="of several scenes: the names of those for validation, or their share",
    )
    test_scenes: tuple[str, ...] | float = Field(
        default=0.25,
        exclude_if=lambda share: share == 0.25,
        description="of several scenes: the names of those for test, or their share",
    )


class SceneView(Config):
    """One view of a scene pack. `source_digest` is of the bytes of its files; `scene` counts the pack's scenes."""

    name: str
    split: ViewSplit
    width: int
    height: int
    source_digest: str
    scene: int = Field(default=0, ge=0, exclude_if=lambda scene: scene == 0)


class SceneFacts(Config):
    """One scene of a pack; the only one of a pack is for training."""

    name: str
    split: ViewSplit
    format: SceneFormat
    points: int = Field(ge=0, description="sparse points that its cameras bring")


class SceneClass(Config):
    """What a label stands for, and the colour that it is drawn in."""

    name: str
    colour: tuple[int, int, int]


class SceneManifest(Manifest):
    """What a pack of scenes holds."""

    FILES: ClassVar = frozenset(
        ("images.bin", "image_offsets.npy", "viewmats.npy", "intrinsics.npy",
         "masks.bin", "labels.bin", "depth.bin", "points_xyz.npy", "points_colours.npy")
    )  # fmt: skip

    kind: Literal["scene"] = "scene"
    config: ScenePackConfig
    format: SceneFormat = Field(description="of the first scene")
    views: tuple[SceneView, ...] = Field(description="those of the first scene first, then those of the next")
    scenes: tuple[SceneFacts, ...] = Field(default=(), description="none in packs that knew but one")
    classes: tuple[SceneClass, ...] = Field(default=(), max_length=VOID, description="what labels 0, 1, ... stand for")

    def identity(self) -> Iterable[Config]:
        """The config, the facts of each view, of each of several scenes, and of each class."""
        return self.config, *self.views, *(self.scenes if len(self.scenes) > 1 else ()), *self.classes


class ScenePack:
    """A read-only view of a pack of scenes on disk. Open with `ScenePack.open`."""

    def __init__(self, path: Path, manifest: SceneManifest) -> None:
        check_sizes(path, manifest)
        self.path = path
        self.manifest = manifest
        count = len(manifest.views)
        self._offsets: NDArray[np.int64] = open_array(path / "image_offsets.npy", np.int64, (count + 1,))
        self._viewmats: NDArray[np.float64] = open_array(path / "viewmats.npy", np.float64, (count, 4, 4))
        self._intrinsics: NDArray[np.float64] = open_array(path / "intrinsics.npy", np.float64, (count, 3, 3))
        self._images = _mapped(path / "images.bin", np.uint8)
        self._masks, self._labels, self._depth = (
            _mapped(path / name, kind) if name in manifest.files else None
            for name, kind in (("masks.bin", np.uint8), ("labels.bin", np.uint8), ("depth.bin", np.float32))
        )
        self._points = ScenePoints(np.empty((0, 3)), np.empty((0, 3), np.uint8))
        if "points_xyz.npy" in manifest.files:
            xyz = open_array(path / "points_xyz.npy", np.float64, (None, 3))
            self._points = ScenePoints(xyz, open_array(path / "points_colours.npy", np.uint8, (len(xyz), 3)))
        self.scenes: tuple[SceneFacts, ...] = manifest.scenes or (
            SceneFacts(name="scene", split="train", format=manifest.format, points=len(self._points)),
        )
        self._check_spans()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Map a pack folder.

        Raises:
            PackError: there is no pack of scenes, or it is half-written, changed in size, or of another schema.
        """
        return cls(Path(path), as_manifest(SceneManifest, *read_values(Path(path))))

    def _check_spans(self) -> None:
        """Raises PackError when the manifest speaks of pixels, points or scenes that are not there."""
        sizes = np.diff(self._offsets)
        pixels = np.diff(self._first_pixel)
        lengths = 3 * pixels if self.manifest.config.codec == "raw" else np.maximum(sizes, 1)
        whole = self._offsets[0] == 0 and self._offsets[-1] == len(self._images) and (sizes == lengths).all()
        maps = (values for values in (self._masks, self._labels, self._depth) if values is not None)
        if not whole or any(len(values) != self._first_pixel[-1] for values in maps):
            raise PackError(f"{self.path}/manifest.json: its views do not fill images.bin; make the pack again")
        scenes = [view.scene for view in self.manifest.views]
        if scenes != sorted(scenes) or max(scenes, default=0) >= len(self.scenes):
            raise PackError(f"{self.path}/manifest.json: its views are of scenes that it lacks; make the pack again")
        if self._first_point[-1] != len(self._points):
            raise PackError(f"{self.path}/manifest.json: its scenes have other points; make the pack again")

    @cached_property
    def _first_pixel(self) -> NDArray[np.int64]:
        """[views + 1] pixels of the views before each, and of all."""
        return np.cumsum([0, *(view.width * view.height for view in self.manifest.views)], dtype=np.int64)

    @cached_property
    def _first_point(self) -> NDArray[np.int64]:
        """[scenes + 1] points of the scenes before each, and of all."""
        return np.cumsum([0, *(scene.points for scene in self.scenes)], dtype=np.int64)

    @property
    def digest(self) -> str:
        """Identity of the content: same input and config, same digest."""
        return self.manifest.pack_digest

    @property
    def files(self) -> dict[str, FileFacts]:
        """Name within the folder -> length and digests of its blocks."""
        return self.manifest.files

    def __len__(self) -> int:
        return len(self.manifest.views)

    @property
    def classes(self) -> tuple[str, ...]:
        """What labels 0, 1, ... stand for; none in a pack without labels."""
        return tuple(each.name for each in self.manifest.classes)

    @property
    def palette(self) -> Pixels:
        """[C, 3] uint8 colours of the classes."""
        return np.array([each.colour for each in self.manifest.classes], np.uint8).reshape(-1, 3)

    def scenes_of(self, split: ViewSplit) -> tuple[int, ...]:
        """Numbers of the scenes of a split."""
        return tuple(i for i, scene in enumerate(self.scenes) if scene.split == split)

    def views(self, split: ViewSplit | None = None, scene: int | None = None) -> NDArray[np.int64]:
        """Indices of the views of a split, of a scene, or of both; of all without either.

        A view's split is that within its scene: a scene for test has views of all three splits.
        """
        found = [
            i
            for i, view in enumerate(self.manifest.views)
            if split in (None, view.split) and scene in (None, view.scene)
        ]
        return np.array(found, dtype=np.int64)

    def camera(self, index: int) -> Camera:
        """The pinhole of a stored picture, in the world of its scene."""
        view = self.manifest.views[index]
        return Camera(np.array(self._viewmats[index]), np.array(self._intrinsics[index]), view.width, view.height)

    def image(self, index: int) -> Pixels:
        """[H, W, 3] uint8; read-only, and mapped when stored raw. Raises ImageError for a damaged picture."""
        view = self.manifest.views[index]
        content = self._images[self._offsets[index] : self._offsets[index + 1]]
        if self.manifest.config.codec == "raw":
            return content.reshape(view.height, view.width, 3)
        name = f"{self.path / 'images.bin'}, view {index}"
        picture = decode_image(content.tobytes(), name)
        if picture.shape != (view.height, view.width, 3):
            raise PackError(f"{name}: is {picture.shape}, not {view.width} x {view.height}; make the pack again")
        return picture

    def mask(self, index: int) -> Pixels | None:
        """[H, W] uint8, mapped read-only: 255 where a pixel counts fully. None when the pack has no masks."""
        return None if self._masks is None else self._of_view(self._masks, index)

    def labels(self, index: int) -> Pixels | None:
        """[H, W] uint8, mapped read-only: numbers of classes, VOID where there is none. None in a pack without."""
        return None if self._labels is None else self._of_view(self._labels, index)

    def depth(self, index: int) -> NDArray[np.float32] | None:
        """[H, W] float32, mapped read-only: world units along the camera's z axis, 0 where it is not known.

        None when the pack has no depth.
        """
        return None if self._depth is None else self._of_view(self._depth, index)

    def _of_view(self, values: NDArray[Any], index: int) -> NDArray[Any]:
        view = self.manifest.views[index]
        return values[self._first_pixel[index] : self._first_pixel[index + 1]].reshape(view.height, view.width)

    def points_of(self, scene: int = 0) -> ScenePoints | None:
        """The sparse points of a scene; None when its cameras brought none."""
        if not self.scenes[scene].points:
            return None
        rows = slice(self._first_point[scene], self._first_point[scene + 1])
        return ScenePoints(self._points.xyz[rows], self._points.colours[rows])

    def cameras_of(self, scene: int = 0) -> CameraScene:
        """The cameras of a scene alone, as readers of camera files give them."""
        indices = self.views(scene=scene).tolist()
        views = (self.manifest.views[i] for i in indices)
        cameras = tuple(
            CameraView(view.name, self.camera(i), split=view.split) for i, view in zip(indices, views, strict=True)
        )
        notes = tuple(f"{text} ({count:,} views)" for text, count in self.manifest.notes.items())
        return CameraScene(self.path, self.scenes[scene].format, cameras, self.points_of(scene), notes)


def _mapped(file: Path, kind: type[Any]) -> NDArray[Any]:
    return np.asarray(np.memmap(file, dtype=kind, mode="r"))
