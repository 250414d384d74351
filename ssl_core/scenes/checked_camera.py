"""A `Camera` out of numbers that nobody has checked."""

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import CameraError
from ssl_core.scenes.cameras import Camera

Floats = NDArray[np.float64]

MAX_SIDE = 100_000
"""Pixels; a larger picture is a wrong number."""
FARTHEST = 1e12
"""World units from the origin, or pixels of focal length; beyond it is a damaged number."""
SKEWED = 1e-3
"""Most that a rotation's rows may differ from orthonormal ones: files have six digits or more."""

_EYE = np.eye(3)
FLIP_YZ = np.diag([1.0, -1.0, -1.0])
"""OpenGL's camera axes (y up, looking along -z) to OpenCV's, and back."""


def pinhole(
    where: str,
    rotation: Floats,
    translation: Floats,
    focal: tuple[float, float],
    centre: tuple[float, float],
    size: tuple[float, float],
) -> Camera:
    """A camera in our axes.

    Args:
        where: file and frame, for refusals.
        rotation: [3, 3] world -> camera, of `from_camera_to_world` or a unit quaternion.
        translation: [3] world -> camera.
        focal: pixels.
        centre: pixels, centres at +0.5.
        size: width and height in pixels.

    Raises:
        CameraError: a number no camera can have.
    """
    width, height = (_side(value, where) for value in size)
    if not all(1e-6 < value <= FARTHEST for value in focal):
        raise CameraError(f"{where}: the focal length is {focal[0]:g}, {focal[1]:g} pixels; it must be positive")
    if not all(abs(value) <= FARTHEST for value in centre):
        raise CameraError(f"{where}: the principal point ({centre[0]:g}, {centre[1]:g}) is no place in a picture")
    _check_place(translation, where)
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = translation
    K = np.array([[focal[0], 0.0, centre[0]], [0.0, focal[1], centre[1]], [0.0, 0.0, 1.0]])
    return Camera(viewmat, K, width, height)


def from_camera_to_world(rotation: Floats, position: Floats, where: str) -> tuple[Floats, Floats]:
    """[3, 3] camera -> world and the camera's position [3] -> rotation and translation world -> camera.

    What rounding did to the rotation is taken out.

    Raises:
        CameraError: `rotation` is none, or the position is absurdly far.
    """
    inverse = _orthonormal(rotation, where).T
    _check_place(position, where)
    return inverse, -inverse @ position


def _side(value: float, where: str) -> int:
    # instant-ngp writes 1080.0
    if not (1 <= value <= MAX_SIDE and float(value).is_integer()):
        shown = f"{value:g}" if abs(value) < 1e300 else "far too many"
        raise CameraError(f"{where}: an image side of {shown} pixels; expected a whole number from 1 to {MAX_SIDE:,}")
    return int(value)


def _check_place(place: Floats, where: str) -> None:
    if not (np.abs(place) <= FARTHEST).all():
        raise CameraError(f"{where}: the camera stands {np.abs(place).max():g} units away; the file is damaged")


def _orthonormal(rotation: Floats, where: str) -> Floats:
    """The nearest rotation to one that is nearly one.

    Newton's iteration for the polar factor (Higham 1986) without inverses: quadratic, so three steps from SKEWED are
    exact, and several times as fast as a singular value decomposition.
    """
    # larger values would overflow in the product
    gram = rotation.T @ rotation if np.abs(rotation).max() < 1e100 else np.full((3, 3), np.inf)
    if not np.abs(gram - _EYE).max() <= 2 * SKEWED:
        sizes = ", ".join(f"{length:.4g}" for length in np.sqrt(np.diag(gram)))
        raise CameraError(
            f"{where}: its matrix is no rotation (column lengths {sizes}); write unit columns, square to each other"
        )
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    if a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0:
        raise CameraError(f"{where}: its matrix mirrors the world; expected a rotation (right-handed axes)")
    for _ in range(3):
        rotation = rotation @ (1.5 * _EYE - 0.5 * (rotation.T @ rotation))
    return rotation
