"""Intrinsics of a frame of `transforms.json`: sizes, focal lengths and lenses in all their spellings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ssl_core.errors import CameraError
from ssl_core.scenes.checked_camera import MAX_SIDE
from ssl_core.scenes.json_values import optional_number, quoted
from ssl_core.scenes.lens import Distortion, distortion

PERSPECTIVE = ("PERSPECTIVE", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
FISHEYE = ("FISHEYE", "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")


@dataclass(frozen=True, eq=False)
class Scope:
    """Where a value may stand: in the frame, else beside the frames."""

    frame: Mapping[str, Any]
    top: Mapping[str, Any]
    where: str

    def number(self, key: str) -> float | None:
        """The frame's value, else the file's, else None. Raises CameraError for anything but a finite number."""
        return self.inner(key) if self.frame.get(key) is not None else optional_number(self.top, key, self.where)

    def inner(self, key: str) -> float | None:
        """The frame's value only."""
        return optional_number(self.frame, key, self.where)

    def value(self, key: str) -> Any:
        """Any value, the frame's first."""
        return self.frame[key] if self.frame.get(key) is not None else self.top.get(key)


def size_of(scope: Scope) -> tuple[int, int] | None:
    """Width and height where both are given; instant-ngp writes them with a decimal point."""
    sides = scope.number("w"), scope.number("h")
    if sides[0] is None or sides[1] is None:
        return None
    for key, side in zip("wh", sides, strict=True):
        if side is None or not 1 <= side <= MAX_SIDE or not side.is_integer():
            raise CameraError(f"{scope.where}: {key} is {side:g}; expected a whole number from 1 to {MAX_SIDE:,}")
    return int(sides[0]), int(sides[1])


def focal_of(scope: Scope, width: int, height: int) -> tuple[float, float]:
    """Horizontal and vertical focal length in pixels; one that is not given equals the other.

    In each place fl_x and fl_y come before camera_angle_x and camera_angle_y (radians), these before instant-ngp's
    x_fov and y_fov (degrees); a frame's own value of any spelling comes before the file's.

    Raises:
        CameraError: neither is given, or an angle is not between 0 and 180 degrees.
    """
    across = _focal(scope, "x", width)
    down = _focal(scope, "y", height)
    if across is None and down is None:
        raise CameraError(f"{scope.where}: gives no focal length; add fl_x in pixels or camera_angle_x in radians")
    return (across if across is not None else down, down if down is not None else across)  # type: ignore[return-value]


def _focal(scope: Scope, axis: Literal["x", "y"], side: int) -> float | None:
    for values in (scope.frame, scope.top):
        focal = optional_number(values, f"fl_{axis}", scope.where)
        if focal is not None:
            return focal
        angle = optional_number(values, f"camera_angle_{axis}", scope.where)
        degrees = optional_number(values, f"{axis}_fov", scope.where)
        if angle is None and degrees is not None:
            angle = math.radians(degrees)
        if angle is not None:
            if not 1e-6 < angle < math.pi - 1e-6:
                raise CameraError(f"{scope.where}: a field of view of {angle:g} radians; expected above 0, below pi")
            return side / 2 / math.tan(angle / 2)
    return None


def centre_of(scope: Scope, width: int, height: int) -> tuple[float, float]:
    """The principal point in pixels; the middle where it is not given."""
    cx, cy = scope.number("cx"), scope.number("cy")
    return (width / 2 if cx is None else cx, height / 2 if cy is None else cy)


def lens_of(scope: Scope) -> Distortion | None:
    """The lens. k3 and k4 of a perspective camera are further coefficients of the radial polynomial, as in nerfstudio.

    Raises:
        CameraError: a camera model that is neither perspective nor fisheye.
    """
    model = scope.value("camera_model")
    if model is not None and model not in PERSPECTIVE + FISHEYE:
        known = ", ".join(PERSPECTIVE + FISHEYE)
        raise CameraError(f"{scope.where}: camera_model {quoted(model)} is not supported; expected one of {known}")
    for key in ("is_equirectangular", "is_latlong", "ftheta_p0"):
        if scope.value(key):
            raise CameraError(f"{scope.where}: {key} asks for a lens that is no pinhole; undistort the images first")
    k1, k2, k3, k4, p1, p2 = (scope.number(key) or 0.0 for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    if model in FISHEYE or scope.value("is_fisheye") is True:
        return distortion("fisheye", (k1, k2, k3, k4))
    return distortion("perspective", (k1, k2, k3, k4), (p1, p2))
