"""ScenePack: one scene's pictures with their cameras, decoded and undistorted once; every trial of a node maps it.

manifest.json       written last; schema version, digests, views with their splits, what was refused and why
images.bin          each view in turn: its pixels [H, W, 3] uint8; or, with a codec, its encoded picture
image_offsets.npy   [views + 1] int64: where each view begins in images.bin, and where the last one ends
viewmats.npy        [views, 4, 4] float64, world -> camera, OpenCV axes
intrinsics.npy      [views, 3, 3] float64, in pixels of the stored pictures
masks.bin           each view in turn: [H, W] uint8, 255 where a pixel counts fully; only when the scene has masks
points_xyz.npy      [points, 3] float64 and points_colours.npy, [points, 3] uint8; only when the cameras bring points

Pictures may have any size, each its own. The world is the scene's own: nothing is centred, turned or scaled.
"""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

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


class SceneView(Config):
    """One view of a scene pack. `source_digest` is of the bytes of its picture and mask."""

    name: str
    split: ViewSplit
    width: int
    height: int
    source_digest: str


class SceneManifest(Manifest):
    """What a pack of a scene holds."""

    FILES: ClassVar = frozenset(
        ("images.bin", "image_offsets.npy", "viewmats.npy", "intrinsics.npy",
         "masks.bin", "points_xyz.npy", "points_colours.npy")
    )  # fmt: skip

    kind: Literal["scene"] = "scene"
    config: ScenePackConfig
    format: SceneFormat
    views: tuple[SceneView, ...]

    def identity(self) -> Iterable[Config]:
        """The config and the facts of each view."""
        return self.config, *self.views


class ScenePack:
    """A read-only view of a scene pack on disk. Open with `ScenePack.open`."""

    def __init__(self, path: Path, manifest: SceneManifest) -> None:
        check_sizes(path, manifest)
        self.path = path
        self.manifest = manifest
        count, files = len(manifest.views), manifest.files
        self._images: Pixels = np.asarray(np.memmap(path / "images.bin", dtype=np.uint8, mode="r"))
        self._offsets: NDArray[np.int64] = open_array(path / "image_offsets.npy", np.int64, (count + 1,))
        self._viewmats: NDArray[np.float64] = open_array(path / "viewmats.npy", np.float64, (count, 4, 4))
        self._intrinsics: NDArray[np.float64] = open_array(path / "intrinsics.npy", np.float64, (count, 3, 3))
        self._masks: Pixels | None = None
        if "masks.bin" in files:
            self._masks = np.asarray(np.memmap(path / "masks.bin", dtype=np.uint8, mode="r"))
        self.points: ScenePoints | None = None
        if "points_xyz.npy" in files:
            xyz = open_array(path / "points_xyz.npy", np.float64, (None, 3))
            self.points = ScenePoints(xyz, open_array(path / "points_colours.npy", np.uint8, (len(xyz), 3)))
        self._check_spans()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Map a pack folder.

        Raises:
            PackError: there is no pack of a scene, or it is half-written, changed in size, or of another schema.
        """
        return cls(Path(path), as_manifest(SceneManifest, *read_values(Path(path))))

    def _check_spans(self) -> None:
        """Raises PackError when the manifest speaks of pixels that are not there."""
        sizes = np.diff(self._offsets)
        pixels = np.diff(self._first_pixel)
        lengths = 3 * pixels if self.manifest.config.codec == "raw" else np.maximum(sizes, 1)
        whole = self._offsets[0] == 0 and self._offsets[-1] == len(self._images) and (sizes == lengths).all()
        if not whole or (self._masks is not None and len(self._masks) != self._first_pixel[-1]):
            raise PackError(f"{self.path}/manifest.json: its views do not fill images.bin; make the pack again")

    @cached_property
    def _first_pixel(self) -> NDArray[np.int64]:
        """[views + 1] pixels of the views before each, and of all."""
        return np.cumsum([0, *(view.width * view.height for view in self.manifest.views)], dtype=np.int64)

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

    def views(self, split: ViewSplit) -> NDArray[np.int64]:
        """Indices of the views of a split."""
        return np.array([i for i, view in enumerate(self.manifest.views) if view.split == split], dtype=np.int64)

    def camera(self, index: int) -> Camera:
        """The pinhole of a stored picture."""
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
        """[H, W] uint8, mapped read-only: 255 where a pixel counts fully. None when the scene has no masks."""
        if self._masks is None:
            return None
        view = self.manifest.views[index]
        return self._masks[self._first_pixel[index] : self._first_pixel[index + 1]].reshape(view.height, view.width)

    def scene(self) -> CameraScene:
        """The cameras alone, as readers of camera files give them."""
        views = (CameraView(view.name, self.camera(i), split=view.split) for i, view in enumerate(self.manifest.views))
        notes = tuple(f"{text} ({count:,} views)" for text, count in self.manifest.notes.items())
        return CameraScene(self.path, self.manifest.format, tuple(views), self.points, notes)
