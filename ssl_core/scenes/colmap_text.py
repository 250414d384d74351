"""The tables of a COLMAP model as text: one record a line, lines that begin with # are comments.

Source: colmap.github.io "Output Format". An image has two lines, the second of which (its 2D points) may be empty.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ssl_core.errors import CameraError
from ssl_core.scenes.camera_scene import MAX_VIEWS, ScenePoints
from ssl_core.scenes.colmap_models import (
    MAX_POINTS,
    PARAMETERS,
    ColmapCamera,
    ColmapImage,
    known_model,
)

MAX_LINE = 16 * 2**20
"""Bytes: half a million 2D points of an image, or the track of a point."""


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Cameras by id. Raises CameraError, naming the line."""
    cameras: dict[int, ColmapCamera] = {}
    for where, line in _records(path):
        fields = line.split()
        _at_least(fields, 4, where, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]")
        model = known_model(fields[1], where)
        key, width, height = _integers((fields[0], fields[2], fields[3]), where)
        parameters = _floats(fields[4:], where)
        if len(parameters) != PARAMETERS[model]:
            raise CameraError(f"{where}: {len(parameters)} parameters for {model}; expected {PARAMETERS[model]}")
        _new(key, cameras, where, "camera")
        cameras[key] = ColmapCamera(model, width, height, parameters)
    return cameras


def read_images(path: Path) -> dict[int, ColmapImage]:
    """Images by id; their 2D points are passed over. Raises CameraError, naming the line."""
    images: dict[int, ColmapImage] = {}
    for where, line in _records(path, lines_each=2):
        fields = line.split(maxsplit=9)
        _at_least(fields, 10, where, "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME")
        key, camera = _integers((fields[0], fields[8]), where)
        qw, qx, qy, qz, x, y, z = _floats(fields[1:8], where)
        _new(key, images, where, "image")
        images[key] = ColmapImage((qw, qx, qy, qz), (x, y, z), camera, fields[9].strip())
    return images


def read_points(path: Path) -> ScenePoints:
    """The sparse cloud; errors and tracks are passed over. Raises CameraError, naming the line."""
    keys, xyz, colours = array("Q"), array("d"), array("B")
    for where, line in _records(path, limit=MAX_POINTS):
        fields = line.split(maxsplit=8)
        _at_least(fields, 8, where, "POINT3D_ID X Y Z R G B ERROR TRACK[]")
        key, *colour = _integers((fields[0], *fields[4:7]), where)
        if not (0 <= key < 2**64 and all(0 <= value <= 255 for value in colour)):
            raise CameraError(f"{where}: an id of 64 bits and colours from 0 to 255 are expected")
        keys.append(key)
        xyz.extend(_floats(fields[1:4], where))
        colours.extend(colour)
    if len(np.unique(np.frombuffer(keys, np.uint64) if keys else np.empty(0))) != len(keys):
        raise CameraError(f"{path}: holds a point twice; write the model again")
    return ScenePoints(np.array(xyz, dtype=np.float64).reshape(-1, 3), np.array(colours, dtype=np.uint8).reshape(-1, 3))


def _records(path: Path, lines_each: int = 1, limit: int = MAX_VIEWS) -> Iterator[tuple[str, str]]:
    """(where, first line) of every record. Between records empty lines and comments are passed over, within not."""
    try:
        with path.open("rb") as stream:
            number = records = 0
            while content := stream.readline(MAX_LINE + 1):
                number += 1
                where = f"{path}: line {number}"
                if len(content) > MAX_LINE:
                    raise CameraError(f"{where}: is longer than {MAX_LINE:,} bytes; the file is damaged")
                line = _decoded(content, where)
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
    except OSError as error:
        raise CameraError(f"{path}: cannot be read: {error.strerror or error}; check the path") from None


def _decoded(content: bytes, where: str) -> str:
    try:
        line = content.decode().strip()
    except UnicodeDecodeError:
        raise CameraError(f"{where}: is not UTF-8 text; write the model again") from None
    if "\0" in line:
        raise CameraError(f"{where}: holds a zero byte; is the file binary?")
    return line


def _at_least(fields: Sequence[str], count: int, where: str, expected: str) -> None:
    if len(fields) < count:
        raise CameraError(f"{where}: {len(fields)} fields; expected {expected}")


def _new(key: int, found: dict[int, ColmapCamera] | dict[int, ColmapImage], where: str, what: str) -> None:
    if key in found:
        raise CameraError(f"{where}: {what} {key} is there twice; write the model again")


def _integers(fields: Sequence[str], where: str) -> tuple[int, ...]:
    try:
        return tuple(int(field) for field in fields)
    except ValueError:
        raise CameraError(f"{where}: expected whole numbers, found {ascii(fields)[:80]}") from None


def _floats(fields: Sequence[str], where: str) -> tuple[float, ...]:
    try:
        return tuple(float(field) for field in fields)
    except ValueError:
        raise CameraError(f"{where}: expected numbers, found {ascii(fields)[:80]}") from None
