"""The tables of a COLMAP model as binary files: little endian, a 64-bit count, then records of varying length.

Source: colmap.github.io "Output Format" and `scripts/python/read_write_model.py` of colmap/colmap (BSD). Counts are
checked against the size of the file before anything is made, and every byte must belong to a record.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ssl_core.errors import CameraError
from ssl_core.scenes.camera_scene import MAX_VIEWS, ScenePoints
from ssl_core.scenes.colmap_models import (
    MAX_POINTS,
    NAMES,
    PARAMETERS,
    ColmapCamera,
    ColmapImage,
    known_model,
)

MAX_NAME = 4096
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_POINT = struct.Struct("<Q3d3BdQ")
_COUNT = struct.Struct("<Q")
_OBSERVATION = 24
_TRACK = 8


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Cameras by id. Raises CameraError, naming the offset."""
    cameras: dict[int, ColmapCamera] = {}
    with _opened(path) as file:
        for _ in range(file.count(MAX_VIEWS, _CAMERA.size + 8 * min(PARAMETERS.values()), "cameras")):
            where = file.where()
            key, model_id, width, height = file.take(_CAMERA)
            name = NAMES[model_id] if 0 <= model_id < len(NAMES) else f"number {model_id}"
            model = known_model(name, where)
            if key in cameras:
                raise CameraError(f"{where}: camera {key} is there twice; write the model again")
            parameters = file.take(struct.Struct(f"<{PARAMETERS[model]}d"))
            cameras[key] = ColmapCamera(model, width, height, parameters)
        file.end()
    return cameras


def read_images(path: Path) -> dict[int, ColmapImage]:
    """Images by id; their 2D points are passed over. Raises CameraError, naming the offset."""
    images: dict[int, ColmapImage] = {}
    with _opened(path) as file:
        for _ in range(file.count(MAX_VIEWS, _IMAGE.size + 1 + _COUNT.size, "images")):
            where = file.where()
            key, *pose, camera = file.take(_IMAGE)
            name = file.name()
            (observations,) = file.take(_COUNT)
            file.skip(observations * _OBSERVATION, f"{observations:,} 2D points")
            if key in images:
                raise CameraError(f"{where}: image {key} is there twice; write the model again")
            images[key] = ColmapImage(tuple(pose[:4]), tuple(pose[4:]), camera, name)
        file.end()
    return images


def read_points(path: Path) -> ScenePoints:
    """The sparse cloud; errors and tracks are passed over. Raises CameraError, naming the offset."""
    with _opened(path) as file:
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
    if len(np.unique(keys)) != count:
        raise CameraError(f"{path}: holds a point twice; write the model again")
    return ScenePoints(xyz, colours)


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
            return content.decode()
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


@contextmanager
def _opened(path: Path) -> Iterator[_Records]:
    try:
        with path.open("rb") as stream:
            yield _Records(path, stream)
    except OSError as error:
        raise CameraError(f"{path}: cannot be read: {error.strerror or error}; check the path") from None
