"""What camera files hold, whatever wrote them: the values that every reader of this folder returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.scenes.cameras import Camera, Distortion

SceneFormat = Literal["inria", "blender", "nerfstudio", "instant-ngp", "colmap binary", "colmap text"]
SceneSplit = Literal["train", "val", "test"]

MAX_VIEWS = 50_000
"""More views in one scene are refused: a file must not take minutes."""


@dataclass(frozen=True, eq=False)
class CameraView:
    """One picture's camera.

    Args:
        name: as the file writes it; untrusted text.
        camera: the pinhole, in our axes.
        image: its picture, inside the scene's folder, where there is one.
        distortion: what the lens adds to the pinhole; None for nothing.
        split: where files say it.
    """

    name: str
    camera: Camera
    image: Path | None = None
    distortion: Distortion | None = None
    split: SceneSplit | None = None


@dataclass(frozen=True, eq=False)
class ScenePoints:
    """A sparse cloud: xyz [N, 3] float64 in the cameras' world, colours [N, 3] uint8."""

    xyz: NDArray[np.float64]
    colours: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True, eq=False)
class CameraScene:
    """What camera files hold.

    Args:
        path: the file or model folder that was read.
        format: what wrote it.
        views: at least one, names unique, in the file's order (COLMAP: by name).
        points: COLMAP's sparse cloud, where it has one.
        notes: what a reader of the numbers should know, one sentence each.
    """

    path: Path
    format: SceneFormat
    views: tuple[CameraView, ...]
    points: ScenePoints | None = None
    notes: tuple[str, ...] = ()
