"""Pinhole cameras, lenses, the views and scenes made of them, and the orbits that the project looks at objects from.

OpenCV axes: x right, y down, z forward; `viewmat` takes world to camera; pixel centres lie at +0.5. The world's z axis
points up, as in ModelNet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import DataError

Floats = NDArray[np.float64]

SceneFormat = Literal["inria", "blender", "nerfstudio", "instant-ngp", "colmap binary", "colmap text"]
SceneSplit = Literal["train", "val", "test"]

MAX_VIEWS = 50_000
"""More views in one scene are refused: a file must not take minutes."""

GOLDEN_FRACTION = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Camera:
    """One view."""

    viewmat: Floats  # [4, 4] float64, world -> camera
    K: Floats  # [3, 3] float64 intrinsics in pixels, no skew
    width: int  # pixels
    height: int  # pixels

    @property
    def position(self) -> Floats:
        """[3] camera centre in world coordinates."""
        centre: Floats = -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]
        return centre


@dataclass(frozen=True)
class Distortion:
    """Polynomials of the distance from the optical axis, as COLMAP and OpenCV define them."""

    # `perspective`: of r = tan(angle); `fisheye`: of the angle itself, in radians
    kind: Literal["perspective", "fisheye"]
    radial: tuple[float, ...]  # coefficients of r^2, r^4, r^6, ...: k1, k2,
    tangential: tuple[float, float] = (0.0, 0.0)  # p1, p2; perspective only
    # coefficients under the fraction, k4 to k6 of OpenCV's rational model; perspective only
    denominator: tuple[float, ...] = ()

    def __call__(self, xy: NDArray[Any]) -> Floats:
        """[N, 2] x/z, y/z of the ideal pinhole -> [N, 2] of this lens."""
        x, y = np.asarray(xy, dtype=np.float64).T
        square = x * x + y * y
        if self.kind == "fisheye":
            distance = np.sqrt(square)
            angle = np.arctan(distance)
            near = distance < 1e-12
            factor = angle * _polynomial(self.radial, angle * angle) / np.where(near, 1.0, distance)
            return np.stack([x, y], axis=1) * np.where(near, 1.0, factor)[:, None]
        factor = _polynomial(self.radial, square) / _polynomial(self.denominator, square)
        p1, p2 = self.tangential
        u = x * factor + 2 * p1 * x * y + p2 * (square + 2 * x * x)
        v = y * factor + 2 * p2 * x * y + p1 * (square + 2 * y * y)
        return np.stack([u, v], axis=1)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """1 + c1 x + c2 x^2 + ..."""
    value = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * x
    return 1 + value


def distortion(
    kind: Literal["perspective", "fisheye"],
    radial: tuple[float, ...],
    tangential: tuple[float, float] = (0.0, 0.0),
    denominator: tuple[float, ...] = (),
) -> Distortion | None:
    """The lens, or None for a pinhole: a perspective one without any coefficient. An ideal fisheye bends too."""
    if kind == "perspective" and not any((*radial, *tangential, *denominator)):
        return None
    return Distortion(kind, radial, tangential, denominator)


@dataclass(frozen=True, eq=False)
class CameraView:
    """One picture's camera."""

    name: str  # as the file writes it, in Unicode form NFC; untrusted text
    camera: Camera  # the pinhole, in our axes
    image: Path | None = None  # its picture, inside the scene's folder, where there is one
    distortion: Distortion | None = None  # what the lens adds to the pinhole; None for nothing
    split: SceneSplit | None = None  # where files say it
    mask: Path | None = None  # of its picture, where the file of cameras names one that is there
    depth: Path | None = None  # the same of its depth


@dataclass(frozen=True, eq=False)
class ScenePoints:
    """A sparse cloud: xyz [N, 3] float64 in the cameras' world, colours [N, 3] uint8."""

    xyz: NDArray[np.float64]
    colours: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True, eq=False)
class CameraScene:
    """What camera files hold."""

    path: Path  # the file or model folder that was read
    format: SceneFormat  # what wrote it
    views: tuple[CameraView, ...]  # at least one, names unique, in the file's order (COLMAP: by name)
    points: ScenePoints | None = None  # COLMAP's sparse cloud, where it has one
    notes: tuple[str, ...] = ()  # what a reader of the numbers should know, one sentence each


def look_at(position: Sequence[float] | NDArray[Any], target: Sequence[float] | NDArray[Any]) -> Floats:
    """[4, 4] world -> camera of a camera at `position` that looks at `target`, z axis of the world up.

    Looking straight up or down, the world's y axis is up in the image.

    Raises DataError: both points coincide.
    """
    eye = np.asarray(position, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - eye
    length = np.linalg.norm(forward)
    if not length > 0:
        raise DataError("a camera cannot look at its own position; move the camera away from the target")
    forward /= length
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 1 - 1e-9 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    viewmat[:3, 3] = -viewmat[:3, :3] @ eye
    return viewmat


def intrinsics(image_size: int, fov_degrees: float) -> Floats:
    """[3, 3] of a square image with its principal point in the middle."""
    focal = image_size / 2 / math.tan(math.radians(fov_degrees) / 2)
    return np.array([[focal, 0.0, image_size / 2], [0.0, focal, image_size / 2], [0.0, 0.0, 1.0]])


def orbit_cameras(
    count: int,
    image_size: int,
    *,
    radius: float = 2.6,
    fov_degrees: float = 50.0,
    seed: int = 0,
    elevations: tuple[float, float] = (10.0, 50.0),
) -> list[Camera]:
    """`count` cameras around the origin, every prefix well spread; the defaults just frame the unit sphere.

    Azimuths follow the van der Corput sequence (the first 2^k are evenly spaced), elevations the golden-ratio sequence,
    uniform in area over `elevations` (degrees above the horizon). `seed` turns the whole set to another azimuth and
    elevation phase, so that sets with different seeds do not repeat each other's views. Deterministic.

    Raises DataError: no camera asked for, or a radius, field of view or elevation that is no orbit.
    """
    low, high = elevations
    if count < 1 or image_size < 1 or radius <= 0 or not 0 < fov_degrees < 180 or not -90 <= low <= high <= 90:
        raise DataError(
            f"no orbit: count={count}, image_size={image_size}, radius={radius}, fov_degrees={fov_degrees}, "
            f"elevations={elevations}; give positive numbers, a field of view below 180, "
            "elevations with -90 <= low <= high <= 90"
        )
    turn, tilt = np.random.default_rng(seed).random(2)
    K = intrinsics(image_size, fov_degrees)
    heights = (math.sin(math.radians(low)), math.sin(math.radians(high)))
    cameras = []
    for i in range(count):
        azimuth = 2 * math.pi * ((_van_der_corput(i) + turn) % 1.0)
        z = heights[0] + (heights[1] - heights[0]) * ((i * GOLDEN_FRACTION + tilt) % 1.0)
        flat = math.sqrt(max(0.0, 1 - z * z))
        eye = radius * np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), z])
        cameras.append(Camera(look_at(eye, np.zeros(3)), K, image_size, image_size))
    return cameras


def _van_der_corput(index: int) -> float:
    """The binary digits of `index` mirrored at the binary point: 0, 1/2, 1/4, 3/4, 1/8, ..."""
    value, digit = 0.0, 0.5
    while index:
        value += digit * (index & 1)
        index >>= 1
        digit /= 2
    return value
