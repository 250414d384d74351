"""What the header of a .ply promises, checked against the file before any of its data is read.

Nothing after the header is trusted to be what the header says. A header is a few kilobytes, so nothing here can be
slow or large whatever the file is. Format: G. Turk, "The PLY Polygon File Format", 1994.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.bounded_reading import looks_like

HEADER_LIMIT = 1 << 20
"""Bytes in which a header must end. INRIA's is 1.5 kB."""

FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
CODES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
"""numpy's code for each .ply type, without byte order."""

_LENGTHS = frozenset(name for name, code in CODES.items() if code[0] != "f")

_END = {b"\n": re.compile(rb"\nend_header[ \t\r]*\n"), b"\r": re.compile(rb"\rend_header[ \t]*\r")}


@dataclass(frozen=True)
class PlyElementHeader:
    """One `element` of a header."""

    name: str  # of the element
    count: int  # rows
    types: dict[str, str]  # property name -> type, in order; a list is `list <length> <value>`
    row_size: int  # fewest bytes a row can take: exact for binary rows without lists

    @property
    def has_lists(self) -> bool:
        """Whether rows differ in length."""
        return any(kind.startswith("list ") for kind in self.types.values())


@dataclass(frozen=True)
class PlyHeader:
    """Format and elements of a .ply file; bytes and lines of the header, bytes left behind it, what ends a line."""

    format: str
    elements: tuple[PlyElementHeader, ...]
    size: int
    left: int
    line_end: bytes
    lines: int

    def element(self, name: str) -> PlyElementHeader | None:
        """The element of that name, if there is one."""
        return next((element for element in self.elements if element.name == name), None)

    def dtype(self, kind: str) -> np.dtype[Any]:
        """numpy's type for a .ply type in this file's byte order."""
        return np.dtype((">" if self.format == "binary_big_endian" else "<") + CODES[kind])

    def fields(self, element: PlyElementHeader) -> dict[str, tuple[int, np.dtype[Any]]]:
        """Where the scalars of a binary row stand when lists are left out: name -> (offset in bytes, type)."""
        found, at = {}, 0
        for name, kind in element.types.items():
            if not kind.startswith("list "):
                found[name] = (at, self.dtype(kind))
                at += found[name][1].itemsize
        return found


def read_header(source: Source, stream: BinaryIO) -> PlyHeader:
    """Read the header, check that the file can hold what it promises, and leave `stream` at the data.

    Raises PlyError: no .ply, not understood, or shorter than its header says.
    """
    start = stream.read(8192)
    first = re.match(rb"ply[ \t]*(\r?\n|\r)", start)
    if first is None:
        found = looks_like(start)
        what = f"it looks like {found}" if found else "it does not start with 'ply'"
        raise PlyError(f"is not a .ply file ({what}); give a Gaussian .ply")
    line_end = b"\r" if first.group(1) == b"\r" else b"\n"
    end = _END[line_end].search(start)
    if end is None:
        start += stream.read(HEADER_LIMIT)
        end = _END[line_end].search(start)
    if end is None:
        raise PlyError("the header never ends (no 'end_header' line); the file is truncated or no .ply")
    stream.seek(end.end())
    lines = start[: end.start()].decode("ascii", errors="replace").split(line_end.decode())
    kind, elements = _parse(lines)
    header = PlyHeader(kind, elements, end.end(), source.size - end.end(), line_end, len(lines) + 1)
    _check_size(header)
    return header


def _check_size(header: PlyHeader) -> None:
    needed = sum(element.count * element.row_size for element in header.elements)
    # The last line of an ascii file needs no separator of its own.
    if needed - (header.format == "ascii") > header.left:
        rows = ", ".join(f"{element.count} x {element.name[:40]!r}" for element in header.elements[:6])
        raise PlyError(
            f"is truncated: the header promises {rows}, at least {needed} bytes, "
            f"but {header.left} follow it; copy or export the file again"
        )


def check_nothing_left(header: PlyHeader) -> None:
    """Raises PlyError when a binary file holds a row or more beyond what its header counts."""
    needed = sum(element.count * element.row_size for element in header.elements)
    last = header.elements[-1].row_size if header.elements else 0
    exact = header.format != "ascii" and not any(element.has_lists for element in header.elements)
    # A stray line end does no harm; a whole row more says that a count is wrong, and what it counts would be lost.
    if exact and 0 < last <= header.left - needed:
        raise PlyError(
            f"{header.left - needed} bytes follow the {needed} that the header promises, a row or more of "
            f"{header.elements[-1].name[:40]!r}: a count is wrong; export the file again"
        )


def _parse(lines: list[str]) -> tuple[str, tuple[PlyElementHeader, ...]]:
    kind = ""
    elements: list[tuple[str, int, dict[str, str]]] = []
    for number, line in enumerate(lines, start=1):
        match line.split():
            case ["format", name, "1.0"] if name in FORMATS and not kind and not elements:
                kind = name
            case ["element", name, count] if count.isdecimal() and len(count) <= 18:
                elements.append((name, int(count), {}))
            case ["property", "list", length, value, name] if elements and length in _LENGTHS and value in CODES:
                _add_property(elements[-1], name, f"list {length} {value}")
            case ["property", value, name] if elements and value in CODES:
                _add_property(elements[-1], name, value)
            case [] | ["ply" | "comment" | "obj_info", *_]:
                pass
            case _:
                raise PlyError(f"header line {number} is not understood: {line.strip()[:80]!r}; export it again")
    if not kind:
        raise PlyError(f"the header names no format; expected one of {', '.join(FORMATS)}")
    counts = Counter(name for name, _, _ in elements)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise PlyError(f"has element {twice[0][:40]!r} twice; export the file again")
    return kind, tuple(
        PlyElementHeader(name, count, types, sum(_least_bytes(kind, value) for value in types.values()))
        for name, count, types in elements
    )


def _least_bytes(file_format: str, kind: str) -> int:
    """Fewest bytes that a value takes: a digit and a separator in text; of a list, its length."""
    return 2 if file_format == "ascii" else int(CODES[kind.removeprefix("list ").split()[0]][1])


def _add_property(element: tuple[str, int, dict[str, str]], name: str, kind: str) -> None:
    if name in element[2]:
        raise PlyError(f"element {element[0][:40]!r} has property {name[:40]!r} twice; export the file again")
    element[2][name] = kind
