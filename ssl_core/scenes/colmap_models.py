"""COLMAP's camera models and the rows of its tables.

Source: colmap.github.io "Camera Models" and "Output Format"; `src/colmap/sensor/models.h` for ids and formulas.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

from ssl_core.errors import CameraError
from ssl_core.scenes.lens import Distortion, distortion

ModelName = Literal[
    "SIMPLE_PINHOLE",
    "PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "OPENCV_FISHEYE",
    "FULL_OPENCV",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
]
PARAMETERS: dict[ModelName, int] = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
}
"""Numbers per camera of each model that is read."""

NAMES = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV"),
    *("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
    *("SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM", "EQUIRECTANGULAR"),
)
"""By id, as binary files write them; those without an entry in PARAMETERS are refused by name."""

MAX_POINTS = 20_000_000
"""More sparse points are refused: 35 bytes each."""


@dataclass(frozen=True)
class ColmapCamera:
    """A row of the table of cameras."""

    model: ModelName
    width: int
    height: int
    parameters: tuple[float, ...]

    def intrinsics(self) -> tuple[tuple[float, float], tuple[float, float], Distortion | None]:
        """Focal lengths, principal point (both in pixels, pixel centres at +0.5 as ours) and the lens."""
        match self.model:
            case "PINHOLE" | "OPENCV" | "OPENCV_FISHEYE" | "FULL_OPENCV":
                fx, fy, cx, cy, *rest = self.parameters
            case "SIMPLE_PINHOLE" | "SIMPLE_RADIAL" | "RADIAL" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE":
                fx, cx, cy, *rest = self.parameters
                fy = fx
            case _:
                assert_never(self.model)
        return (fx, fy), (cx, cy), _lens(self.model, tuple(rest))


@dataclass(frozen=True)
class ColmapImage:
    """A row of the table of images: rotation (wxyz) and translation take world to camera."""

    quaternion: tuple[float, float, float, float]
    translation: tuple[float, float, float]
    camera: int
    name: str


def known_model(name: str, where: str) -> ModelName:
    """Raises CameraError for a model that cannot be read, by its name."""
    for known in PARAMETERS:
        if known == name:
            return known
    raise CameraError(
        f"{where}: camera model {ascii(name)[:60]} is not supported; expected one of {', '.join(PARAMETERS)}: "
        "undistort the images with `colmap image_undistorter`"
    )


def _lens(model: ModelName, rest: tuple[float, ...]) -> Distortion | None:
    match model:
        case "SIMPLE_PINHOLE" | "PINHOLE":
            return None
        case "SIMPLE_RADIAL" | "RADIAL":
            return distortion("perspective", rest)
        case "OPENCV":
            return distortion("perspective", rest[:2], (rest[2], rest[3]))
        case "FULL_OPENCV":
            return distortion("perspective", (*rest[:2], rest[4]), (rest[2], rest[3]), rest[5:8])
        case "OPENCV_FISHEYE" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE":
            return distortion("fisheye", rest)
        case _:
            assert_never(model)
