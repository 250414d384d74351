"""Point Cloud Library's .pcd, version 0.7: ascii, binary and binary_compressed.

Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html. Fields are found by name, in any order and
of any type; colours are packed into `rgb` or `rgba` as 0xRRGGBB, whose bits a field of type F holds as a float.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import PointCloudError

Table = Mapping[str, NDArray[Any]]
"""Columns [N] by name."""

_CODES = {"F": "f", "I": "i", "U": "u"}
_NEEDED = ("FIELDS", "SIZE", "TYPE", "DATA")
_HEADER_LINES, _MAX_VALUES = 64, 4096


def decode_pcd(content: bytes, limit: int) -> Table:
    """The columns of one value of a file of at most `limit` points. Raises PointCloudError naming the line or count."""
    header, body = _header(content)
    columns = _columns(header)
    count = _number(header.get("POINTS") or header.get("WIDTH", []), "POINTS")
    if not 0 < count <= limit:
        raise PointCloudError(f"POINTS is {count:,}; expected 1 to {limit:,}")
    dtype = np.dtype([(f"{i}", f"<{code}", (repeats,)) for i, (_, code, repeats) in enumerate(columns)])
    match header["DATA"]:
        case ["ascii"]:
            found = _ascii(body, count, columns)
        case ["binary"]:
            found = _binary(body, count, dtype)
        case ["binary_compressed"]:
            found = _compressed(body, count, dtype)
        case words:
            raise PointCloudError(f"DATA is {' '.join(words)[:40]!a}; expected ascii, binary or binary_compressed")
    return {name: found[i][:, 0] for i, (name, _, repeats) in enumerate(columns) if repeats == 1}


def _header(content: bytes) -> tuple[dict[str, list[str]], bytes]:
    """Words of each line up to DATA, and what follows it."""
    found: dict[str, list[str]] = {}
    at = 0
    for _ in range(_HEADER_LINES):
        end = content.find(b"\n", at)
        line, at = content[at : end if end >= 0 else None].decode("ascii", errors="replace"), end + 1
        key, *words = line.partition("#")[0].split() or [""]
        found[key] = words
        if key == "DATA" or end < 0:
            break
    missing = [key for key in _NEEDED if key not in found]
    if missing or at == 0:
        raise PointCloudError(f"is no .pcd: its header lacks {missing[0] if missing else 'data'}; export it again")
    return found, content[at:]


def _columns(header: dict[str, list[str]]) -> list[tuple[str, str, int]]:
    """(name, numpy's code, values) of each field."""
    names, sizes, types = (header[key] for key in ("FIELDS", "SIZE", "TYPE"))
    counts = header.get("COUNT") or ["1"] * len(names)
    if not len(names) == len(sizes) == len(types) == len(counts):
        raise PointCloudError("FIELDS, SIZE, TYPE and COUNT differ in length; export it again")
    columns = []
    for name, size, kind, repeats in zip(names, sizes, types, counts, strict=True):
        if kind not in _CODES or size not in (("4", "8") if kind == "F" else ("1", "2", "4", "8")):
            raise PointCloudError(f"field {name[:40]!a} is of TYPE {kind[:8]!a} and SIZE {size[:8]!a}; export it again")
        columns.append((name, f"{_CODES[kind]}{size}", _number([repeats], "COUNT")))
    if not 0 < sum(repeats for _, _, repeats in columns) <= _MAX_VALUES:
        raise PointCloudError(f"a point has more than {_MAX_VALUES} values, or none; export it again")
    return columns


def _number(words: list[str], key: str) -> int:
    if len(words) != 1 or not words[0].isdecimal() or len(words[0]) > 12:
        raise PointCloudError(f"{key} is {' '.join(words)[:40]!a}; expected a number")
    return int(words[0])


def _ascii(body: bytes, count: int, columns: list[tuple[str, str, int]]) -> list[NDArray[Any]]:
    lines = body.decode("ascii", errors="replace").split("\n", count)[:count]
    width = sum(repeats for _, _, repeats in columns)
    try:
        table = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except (ValueError, IndexError) as error:
        raise PointCloudError(f"a point is damaged ({' '.join(str(error).split())[:100]}); export it again") from None
    if table.shape != (count, width):
        raise PointCloudError(
            f"holds {table.shape[0]:,} points of {table.shape[1]} values, its header promises {count:,} of {width}"
        )
    places = np.cumsum([0, *(repeats for _, _, repeats in columns)])
    with np.errstate(over="ignore", invalid="ignore"):
        return [table[:, at : at + 1].astype(code) for at, (_, code, _) in zip(places[:-1], columns, strict=True)]


def _binary(body: bytes, count: int, dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    if len(body) < count * dtype.itemsize:
        raise _truncated(len(body), count * dtype.itemsize)
    rows = np.frombuffer(body, dtype, count)
    return [rows[f"{i}"].reshape(count, -1) for i in range(len(dtype.names or ()))]


def _compressed(body: bytes, count: int, dtype: np.dtype[Any]) -> list[NDArray[Any]]:
    """Field after field, compressed by LZF behind two 32-bit sizes."""
    packed, size = (int.from_bytes(body[i : i + 4], "little") for i in (0, 4))
    if size != count * dtype.itemsize:
        raise PointCloudError(f"unpacks to {size:,} bytes where its header promises {count * dtype.itemsize:,}")
    if len(body) < 8 + packed:
        raise _truncated(len(body), 8 + packed)
    content, at, found = unlzf(body[8 : 8 + packed], size), 0, []
    for i in range(len(dtype.names or ())):
        kind, (repeats,) = dtype[i].subdtype or (dtype[i], (1,))
        found.append(np.frombuffer(content, kind, count * repeats, at).reshape(count, repeats))
        at += found[-1].nbytes
    return found


def _truncated(found: int, needed: int) -> PointCloudError:
    return PointCloudError(f"is truncated: {needed:,} bytes of points are promised, {found:,} follow; copy it again")


def unlzf(packed: bytes, size: int) -> bytes:
    """Exactly `size` bytes of an LZF stream (M. Lehmann, liblzf 3.6). Raises PointCloudError: damaged."""
    out, at, end = bytearray(), 0, len(packed)
    while at < end and len(out) <= size:
        control, at = packed[at], at + 1
        if control < 32:  # so many literal bytes, and one
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7 and at < end:
            length, at = 7 + packed[at], at + 1
        back = ((control & 31) << 8 | packed[at] if at < end else len(out)) + 1
        at += 1
        if back > len(out):
            break
        length += 2
        start = len(out) - back
        piece = out[start : start + length]
        out += (piece * (length // back + 1))[:length]  # what it copies may be what it writes
    if len(out) != size or at != end:
        raise PointCloudError("its compressed points are damaged; copy it again")
    return bytes(out)
