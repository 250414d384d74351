"""The tables of a COLMAP model (cameras, images, points3D), binary or text, as checked rows.

Source: colmap.github.io "Camera Models" and "Output Format"; `src/colmap/sensor/models.h` for ids and formulas;
`scripts/python/read_write_model.py` of colmap/colmap (BSD). Binary is little endian: a 64-bit count, then records
of varying length. Counts are checked against the size of the file before anything is made, and every byte must belong
to a record. Text has one record a line, and lines that begin with # are comments. An image has two lines, the second of
which (its 2D points) may be empty.
"""

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from ssl_core.errors import CameraError
from ssl_core.files.unicode_names import nfc
from ssl_core.scenes.cameras import MAX_VIEWS, Distortion, ScenePoints, distortion
from ssl_core.scenes.checked_values import FARTHEST

T = TypeVar("T")

MODELS = {
    "SIMPLE_PINHOLE": (1, 0),
    "PINHOLE": (2, 0),
    "SIMPLE_RADIAL": (1, 1),
    "RADIAL": (1, 2),
    "OPENCV": (2, 4),
    "OPENCV_FISHEYE": (2, 4),
    "FULL_OPENCV": (2, 8),
    "SIMPLE_RADIAL_FISHEYE": (1, 1),
    "RADIAL_FISHEYE": (1, 2),
}
"""Focal lengths and lens coefficients of each model that is read; its parameters are these and a principal point."""

NAMES = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV"),
    *("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE"),
    *("SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM", "EQUIRECTANGULAR"),
)
"""By id, as binary files write them; those without an entry in MODELS are refused by name."""

MAX_POINTS = 20_000_000
"""More sparse points are refused: 35 bytes each."""
MAX_NAME = 4096
MAX_LINE = 16 * 2**20
"""Bytes: half a million 2D points of an image, or the track of a point."""

_CAMERA = struct.Struct("<IiQQ")
_SMALLEST_CAMERA = _CAMERA.size + 8 * 3
_IMAGE = struct.Struct("<I7dI")
_POINT = struct.Struct("<Q3d3BdQ")
_COUNT = struct.Struct("<Q")
_OBSERVATION = 24
_TRACK = 8


@dataclass(frozen=True)
class ColmapCamera:
    """A row of the table of cameras."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]

    def intrinsics(self) -> tuple[tuple[float, float], tuple[float, float], Distortion | None]:
        """Focal lengths, principal point (both in pixels, pixel centres at +0.5 as ours) and the lens."""
        focals = MODELS[self.model][0]
        fx, fy = self.parameters[0], self.parameters[focals - 1]
        cx, cy, *lens = self.parameters[focals:]
        if "FISHEYE" in self.model:
            return (fx, fy), (cx, cy), distortion("fisheye", tuple(lens))
        if "OPENCV" in self.model:
            k1, k2, p1, p2, *more = lens
            return (fx, fy), (cx, cy), distortion("perspective", (k1, k2, *more[:1]), (p1, p2), tuple(more[1:]))
        return (fx, fy), (cx, cy), distortion("perspective", tuple(lens))


@dataclass(frozen=True)
class ColmapImage:
    """A row of the table of images: rotation (wxyz) and translation take world to camera."""

    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    camera: int
    name: str  # NFC


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Cameras by id. Raises CameraError, naming the offset or line."""
    return _by_id(_binary_cameras(path) if path.suffix == ".bin" else _text_cameras(path), "camera")


def read_images(path: Path) -> dict[int, ColmapImage]:
    """Images by id; their 2D points are passed over. Raises CameraError, naming the offset or line."""
    return _by_id(_binary_images(path) if path.suffix == ".bin" else _text_images(path), "image")


def read_points(path: Path) -> ScenePoints:
    """The sparse cloud; errors and tracks are passed over. Raises CameraError, naming the offset or line."""
    keys, points = _binary_points(path) if path.suffix == ".bin" else _text_points(path)
    if len(np.unique(keys)) != len(keys):
        raise CameraError(f"{path}: holds a point twice; write the model again")
    wrong = ~(np.abs(points.xyz) <= FARTHEST).all(axis=1)
    if wrong.any():
        raise CameraError(f"{path}: {int(wrong.sum()):,} points are not finite or absurdly far; write the model again")
    return points


def _by_id(rows: Iterator[tuple[str, int, T]], what: str) -> dict[int, T]:
    found: dict[int, T] = {}
    for where, key, row in rows:
        if key in found:
            raise CameraError(f"{where}: {what} {key} is there twice; write the model again")
        found[key] = row
    return found


def _check_model(name: str, where: str) -> int:
    """Number of parameters of a camera model. Raises CameraError for one that cannot be read, by its name."""
    if name not in MODELS:
        raise CameraError(
            f"{where}: camera model {ascii(name)[:60]} is not supported; expected one of {', '.join(MODELS)}: "
            "undistort the images with `colmap image_undistorter`"
        )
    return sum(MODELS[name]) + 2


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise CameraError(f"{path}: cannot be read: {error.strerror or error}; check the path") from None


def _binary_cameras(path: Path) -> Iterator[tuple[str, int, ColmapCamera]]:
    with _opened(path) as stream:
        file = _Records(path, stream)
        for _ in range(file.count(MAX_VIEWS, _SMALLEST_CAMERA, "cameras")):
            where = file.where()
            key, model_id, width, height = file.take(_CAMERA)
            name = NAMES[model_id] if 0 <= model_id < len(NAMES) else f"number {model_id}"
            parameters = struct.Struct(f"<{_check_model(name, where)}d")
            yield where, key, ColmapCamera(name, width, height, file.take(parameters))
        file.end()


def _binary_images(path: Path) -> Iterator[tuple[str, int, ColmapImage]]:
    with _opened(path) as stream:
        file = _Records(path, stream)
        for _ in range(file.count(MAX_VIEWS, _IMAGE.size + 1 + _COUNT.size, "images")):
            where = file.where()
            key, *pose, camera = file.take(_IMAGE)
            name = file.name()
            (observations,) = file.take(_COUNT)
            file.skip(observations * _OBSERVATION, f"{observations:,} 2D points")
            yield where, key, ColmapImage(tuple(pose[:4]), tuple(pose[4:]), camera, name)
        file.end()


def _binary_points(path: Path) -> tuple[Any, ScenePoints]:
    with _opened(path) as stream:
        file = _Records(path, stream)
        count = file.count(MAX_POINTS, _POINT.size, "points")
        keys = np.empty(count, dtype=np.uint64)
        xyz = np.empty((count, 3), dtype=np.float64)
        colours = np.empty((count, 3), dtype=np.uint8)
        for i in range(count):
            keys[i], x, y, z, red, green, blue, _, track = file.take(_POINT)
            xyz[i] = x, y, z
            colours[i] = red, green, blue
            file.skip(track * _TRACK, f"a track of {track:,}")
        file.end()
    return keys, ScenePoints(xyz, colours)


class _Records:
    """A stream that knows where it is and how much is left."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.stream = stream
        self.at = 0
        self.size = os.fstat(stream.fileno()).st_size

    def where(self) -> str:
        return f"{self.path}: offset {self.at}"

    def take(self, layout: struct.Struct) -> tuple[Any, ...]:
        """One record of fixed length."""
        content = self.stream.read(layout.size)
        if len(content) != layout.size:
            raise CameraError(f"{self.where()}: the file ends within a record ({self.size:,} bytes); copy it again")
        self.at += layout.size
        return layout.unpack(content)

    def count(self, limit: int, smallest: int, what: str) -> int:
        """A count that the rest of the file can hold in records of at least `smallest` bytes."""
        (claimed,) = self.take(_COUNT)
        most = (self.size - self.at) // smallest
        if claimed > most:
            raise CameraError(
                f"{self.path}: offset 0: claims {claimed:,} {what} and has bytes for at most {most:,}; copy it again"
            )
        if claimed > limit:
            raise CameraError(f"{self.path}: offset 0: {claimed:,} {what} are more than {limit:,}; split the model")
        return int(claimed)

    def name(self) -> str:
        """Text up to a zero byte."""
        start, content = self.where(), bytearray()
        while (byte := self.stream.read(1)) not in (b"", b"\0"):
            content += byte
            if len(content) > MAX_NAME:
                raise CameraError(f"{start}: a name is longer than {MAX_NAME} bytes; the file is damaged")
        if not byte:
            raise CameraError(f"{start}: the file ends within a name; copy it again")
        self.at += len(content) + 1
        try:
            return nfc(content.decode())
        except UnicodeDecodeError:
            raise CameraError(f"{start}: a name is not UTF-8 ({bytes(content[:40])!r}); rename the image") from None

    def skip(self, length: int, what: str) -> None:
        """Pass over bytes that must be there."""
        if length > self.size - self.at:
            raise CameraError(f"{self.where()}: claims {what}, beyond the file's end ({self.size:,} bytes)")
        self.stream.seek(length, os.SEEK_CUR)
        self.at += length

    def end(self) -> None:
        """Bytes that belong to no record mean a wrong count."""
        if self.at != self.size:
            raise CameraError(f"{self.where()}: {self.size - self.at:,} bytes follow the last record; copy it again")


def _text_cameras(path: Path) -> Iterator[tuple[str, int, ColmapCamera]]:
    for where, line in _lines(path):
        fields = line.split()
        _at_least(fields, 4, where, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]")
        model = fields[1]
        expected = _check_model(model, where)
        key, width, height = _values(int, (fields[0], fields[2], fields[3]), where)
        parameters = _values(float, fields[4:], where)
        if len(parameters) != expected:
            raise CameraError(f"{where}: {len(parameters)} parameters for {model}; expected {expected}")
        yield where, key, ColmapCamera(model, width, height, parameters)


def _text_images(path: Path) -> Iterator[tuple[str, int, ColmapImage]]:
    for where, line in _lines(path, lines_each=2):
        fields = line.split(maxsplit=9)
        _at_least(fields, 10, where, "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        key, camera = _values(int, (fields[0], fields[8]), where)
        pose = _values(float, fields[1:8], where)
        yield where, key, ColmapImage(pose[:4], pose[4:], camera, nfc(fields[9].strip()))


def _text_points(path: Path) -> tuple[Any, ScenePoints]:
    keys, xyz, colours = array("Q"), array("d"), array("B")
    for where, line in _lines(path, limit=MAX_POINTS):
        fields = line.split(maxsplit=8)
        _at_least(fields, 8, where, "POINT3D_ID X Y Z R G B ERROR TRACK[]")
        key, *colour = _values(int, (fields[0], *fields[4:7]), where)
        if not (0 <= key < 2**64 and all(0 <= value <= 255 for value in colour)):
            raise CameraError(f"{where}: an id of 64 bits and colours from 0 to 255 are expected")
        keys.append(key)
        xyz.extend(_values(float, fields[1:4], where))
        colours.extend(colour)
    points = ScenePoints(np.array(xyz, np.float64).reshape(-1, 3), np.array(colours, np.uint8).reshape(-1, 3))
    return np.array(keys, np.uint64), points


def _lines(path: Path, lines_each: int = 1, limit: int = MAX_VIEWS) -> Iterator[tuple[str, str]]:
    """(where, first line) of every record. Between records empty lines and comments are passed over, within not."""
    with _opened(path) as stream:
        number = records = 0
        while content := stream.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}: line {number}"
            if len(content) > MAX_LINE:
                raise CameraError(f"{where}: is longer than {MAX_LINE:,} bytes; the file is damaged")
            try:
                line = content.decode().strip()
            except UnicodeDecodeError:
                raise CameraError(f"{where}: is not UTF-8 text; write the model again") from None
            if "\0" in line:
                raise CameraError(f"{where}: holds a zero byte; is the file binary?")
            if not line or line.startswith("#"):
                continue
            records += 1
            if records > limit:
                raise CameraError(f"{where}: more than {limit:,} records; split the model")
            yield where, line
            for _ in range(lines_each - 1):
                number += 1
                if len(stream.readline(MAX_LINE + 1)) > MAX_LINE:
                    raise CameraError(f"{path}: line {number}: is longer than {MAX_LINE:,} bytes; it is damaged")


def _at_least(fields: Sequence[str], count: int, where: str, expected: str) -> None:
    if len(fields) < count:
        raise CameraError(f"{where}: {len(fields)} fields; expected {expected}")


def _values(kind: type[T], fields: Sequence[str], where: str) -> tuple[T, ...]:
    """The fields as int or float."""
    try:
        return tuple(kind(field) for field in fields)  # type: ignore[call-arg]
    except ValueError:
        expected = "whole numbers" if kind is int else "numbers"
        raise CameraError(f"{where}: expected {expected}, found {ascii(fields)[:80]}") from None
