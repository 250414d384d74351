"""`view.txt` of the renders of Tulsiani et al. (Differentiable Ray Consistency, CVPR 2017), and the cameras it means.

Line i belongs to `render_i.png`: "azimuth elevation tilt distance", the angles in degrees; the last two may be missing.
Their script for Blender (preprocess/synthetic/rendering of shubhtuls/drc) puts the camera at

    distance * (cos azimuth cos elevation, sin azimuth cos elevation, sin elevation)

of a world with z up, lets it look at the origin with z up in the picture, and has a lens of 60 mm before a sensor of
32 mm. That world is ours. Models enter it as Blender imports a .obj, whose y axis is up: (x, y, z) -> (x, -z, y).
"""

import math

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import CameraError
from ssl_core.scenes.cameras import Camera, look_at

FOCAL = 60 / 32
"""Focal length as a share of the picture's side: 120 pixels of 64."""
DISTANCE = 2.0
"""Of the camera from the origin, where the file gives none."""
MAX_ANGLES_BYTES = 2**20
"""A larger view.txt is refused unread."""

_STRAIGHT = 1e-6  # degrees
_FARTHEST = 1e3


def angle_camera(azimuth: float, elevation: float, size: int, distance: float = DISTANCE) -> Camera:
    """A camera that looks at the origin, z axis of the world up; angles in degrees, `size` pixels a side."""
    turn, rise = math.radians(azimuth), math.radians(elevation)
    eye = distance * np.array([math.cos(turn) * math.cos(rise), math.sin(turn) * math.cos(rise), math.sin(rise)])
    K = np.array([[FOCAL * size, 0.0, size / 2], [0.0, FOCAL * size, size / 2], [0.0, 0.0, 1.0]])
    return Camera(look_at(eye, np.zeros(3)), K, size, size)


def y_up_to_z_up(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points or directions [N, 3] of ShapeNet's axes (y up) in those of the cameras (z up): (x, -z, y)."""
    return np.stack([xyz[:, 0], -xyz[:, 2], xyz[:, 1]], axis=1)


def read_view_angles(content: bytes, where: str, numbers: tuple[int, ...], size: int) -> list[Camera]:
    """The cameras of the pictures of these numbers.

    Args:
        content: a view.txt.
        where: its name, for errors.
        numbers: of the pictures, counted from 0; a line each.
        size: side of the pictures in pixels.

    Raises CameraError: fewer lines than pictures, or a line that says no such camera; names it.
    """
    lines = content.decode("ascii", errors="replace").rstrip().splitlines()
    if max(numbers, default=0) >= len(lines):
        raise CameraError(
            f"{where}: has {len(lines)} lines, and picture {max(numbers)} needs line {max(numbers) + 1}; "
            "write a line 'azimuth elevation' (degrees) for each picture"
        )
    return [_camera(lines[number], f"{where} line {number + 1}", size) for number in numbers]


def _camera(line: str, where: str, size: int) -> Camera:
    try:
        values = [float(word) for word in line.replace(",", " ").split()]
    except ValueError:
        values = []
    azimuth, elevation, tilt, distance = (*values, *(math.nan, math.nan, 0.0, DISTANCE)[len(values) :])[:4]
    if not (math.isfinite(azimuth) and abs(elevation) <= 90):
        raise CameraError(f"{where}: {line[:60]!a} is no 'azimuth elevation' in degrees; write both numbers")
    if not abs(tilt) <= _STRAIGHT:
        raise CameraError(f"{where}: a tilt of {tilt:g} degrees is not read; render with the camera upright (0)")
    if not 0 < distance <= _FARTHEST:
        raise CameraError(f"{where}: a distance of {distance:g} is none; write the camera's distance from the origin")
    return angle_camera(azimuth, elevation, size, distance)
