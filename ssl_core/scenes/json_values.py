"""Numbers and matrices out of JSON that nobody has checked. Every refusal says where."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import CameraError, DataError
from ssl_core.files.source import FileSource, read_bytes

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


def vector(values: Mapping[str, Any], key: str, where: str, length: int) -> NDArray[np.float64]:
    """[length] finite numbers. Raises CameraError."""
    return np.array(_numbers(values.get(key), length, f"{where}: {key}"))


def matrix(values: Mapping[str, Any], key: str, where: str, rows: tuple[int, ...], columns: int) -> NDArray[np.float64]:
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
