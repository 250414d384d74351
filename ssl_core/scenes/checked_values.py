"""JSON values, rotations and cameras out of files that nobody has checked. Every refusal says where."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.errors import CameraError, DataError
from ssl_core.files.source import FileSource, read_bytes
from ssl_core.scenes.cameras import Camera, Floats

MAX_SIDE = 100_000
"""Pixels; a larger picture is a wrong number."""
FARTHEST = 1e12
"""World units from the origin, or pixels of focal length; beyond it is a damaged number."""
SKEWED = 1e-3
"""Most that a rotation's rows may differ from orthonormal ones: files have six digits or more."""

_EYE = np.eye(3)
FLIP_YZ = np.diag([1.0, -1.0, -1.0])
"""OpenGL's camera axes (y up, looking along -z) to OpenCV's, and back."""

MAX_JSON_BYTES = 64 * 2**20
"""20,000 frames of a talkative Blender script; text may take four bytes per character in memory."""
MAX_JSON_VALUES = 3_000_000
"""Brackets and commas of a file: an empty list of 2 bytes takes 64 in memory."""


def read_json(path: Path) -> Any:
    """The parsed file. Raises CameraError for one that is too large, not UTF-8 or no JSON."""
    try:
        content = read_bytes(FileSource(path), MAX_JSON_BYTES)
    except DataError as error:
        raise CameraError(str(error)) from None
    return parse_json_bytes(content, str(path))


def parse_json_bytes(content: bytes, path: str) -> Any:
    """The same from bytes in memory; `path` names them in errors."""
    values = sum(content.count(mark) for mark in (b"[", b"{", b","))
    if values > MAX_JSON_VALUES:
        raise CameraError(f"{path}: holds about {values:,} values, more than {MAX_JSON_VALUES:,}; split the scene")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CameraError(f"{path}: is not UTF-8 text (byte {error.start}); write it again") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise CameraError(f"{path}: is no valid JSON ({reason}); write it again") from None


def quoted(text: object) -> str:
    """Untrusted text for an error message: one line, not long, nothing that moves a terminal's cursor."""
    line = ascii(text[:100] if isinstance(text, str) else text)
    return line if len(line) <= 80 else line[:76] + "...'"


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Raises CameraError for anything but an object."""
    if not isinstance(value, dict):
        raise CameraError(f"{where}: is {_kind(value)}, expected an object of named values")
    return value


def text(values: Mapping[str, Any], key: str, where: str) -> str:
    """A string that is there and not empty. Raises CameraError."""
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise CameraError(f"{where}: {key} is {_kind(value)}, expected a name")
    return value


def number(values: Mapping[str, Any], key: str, where: str) -> float:
    """A finite number that is there. Raises CameraError."""
    return _finite(values.get(key), f"{where}: {key}")


def optional_number(values: Mapping[str, Any], key: str, where: str) -> float | None:
    """A finite number, or None where the key is missing or null. Raises CameraError."""
    return None if values.get(key) is None else number(values, key, where)


def vector(values: Mapping[str, Any], key: str, where: str, length: int) -> Floats:
    """[length] finite numbers. Raises CameraError."""
    return np.array(_numbers(values.get(key), length, f"{where}: {key}"))


def matrix(values: Mapping[str, Any], key: str, where: str, rows: tuple[int, ...], columns: int) -> Floats:
    """[R, columns] finite numbers with R one of `rows`, written as a list of rows. Raises CameraError."""
    value = values.get(key)
    if not isinstance(value, list) or len(value) not in rows:
        expected = " or ".join(map(str, rows))
        raise CameraError(f"{where}: {key} is {_kind(value)}, expected {expected} rows of {columns} numbers")
    return np.array([_numbers(row, columns, f"{where}: {key}[{i}]") for i, row in enumerate(value)])


def _numbers(value: Any, length: int, where: str) -> Sequence[float]:
    if not isinstance(value, list) or len(value) != length:
        raise CameraError(f"{where} is {_kind(value)}, expected {length} numbers")
    return [_finite(item, f"{where}[{i}]") for i, item in enumerate(value)]


def _finite(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CameraError(f"{where} is {_kind(value)}, expected a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise CameraError(f"{where} is not finite; write the file again")
    return found


def _kind(value: Any) -> str:
    match value:
        case None:
            return "missing"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case str():
            return f"the text {quoted(value)}"
        case _:
            return str(value)[:40]


def pinhole(
    where: str,
    rotation: Floats,
    translation: Floats,
    focal: tuple[float, float],
    centre: tuple[float, float],
    size: tuple[float, float],
) -> Camera:
    """A camera in our axes; all but the pose is in pixels, with pixel centres at +0.5. `where` names file and frame.

    The pose, [3, 3] and [3], takes world to camera; it is of `from_camera_to_world` or a unit quaternion.

    Raises CameraError: a number no camera can have.
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

    Raises CameraError: `rotation` is none, or the position is absurdly far.
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
