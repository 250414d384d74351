"""What the header of a .ply promises, checked against the file before any of its data is read.

The parser of the data trusts the header; this one does not. A header is a few kilobytes, so nothing here can
be slow or large whatever the file is.
"""

from dataclasses import dataclass
from pathlib import Path

from ssl_core.errors import PlyError

HEADER_LIMIT = 1 << 20
"""Bytes in which a header must end. INRIA's is 1.5 kB."""

FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
WIDTHS = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}
"""Bytes per value of each .ply type."""


@dataclass(frozen=True)
class PlyElementHeader:
    """One `element` of a header: its row count and, in order, property name -> type (`list` for a list)."""

    name: str
    count: int
    types: dict[str, str]
    row_size: int
    """Fewest bytes a row can take: exact for binary rows without lists."""


@dataclass(frozen=True)
class PlyHeader:
    """Format and elements of a .ply file."""

    format: str
    elements: tuple[PlyElementHeader, ...]


def read_header(path: Path) -> PlyHeader:
    """Read the header of `path` and check that the file can hold what it promises.

    Raises:
        PlyError: the file is missing, empty, no .ply, or shorter than its header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(HEADER_LIMIT)
    except OSError as error:
        raise PlyError(f"{path}: cannot be opened: {error.strerror or error}; check the path") from None
    if size == 0:
        raise PlyError(f"{path}: is empty (0 bytes); write or copy it again")
    if start[:3] != b"ply" or start[3:4] not in (b"\n", b"\r", b" "):
        raise PlyError(f"{path}: is not a .ply file (it does not start with 'ply'); give a Gaussian .ply")
    text, offset = _header_text(path, start)
    header = _parse(path, text)
    needed = sum(element.count * element.row_size for element in header.elements)
    # The last line of an ascii file needs no separator of its own.
    if needed - (header.format == "ascii") > size - offset:
        rows = ", ".join(f"{element.count} x {element.name}" for element in header.elements)
        raise PlyError(
            f"{path}: is truncated: the header promises {rows}, at least {needed} bytes, "
            f"but {size - offset} follow it; copy or export the file again"
        )
    return header


def _header_text(path: Path, start: bytes) -> tuple[str, int]:
    """The header's text and the offset of the first byte after it."""
    offset = 0
    for line in start.splitlines(keepends=True):
        offset += len(line)
        if line.strip() == b"end_header" and line != line.strip():
            return start[:offset].decode("ascii", errors="replace"), offset
    raise PlyError(f"{path}: the header never ends (no 'end_header' line); the file is truncated or no .ply")


def _parse(path: Path, text: str) -> PlyHeader:
    kind = ""
    elements: list[tuple[str, int, dict[str, str], list[int]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match line.split():
            case ["format", name, "1.0"] if name in FORMATS:
                kind = name
            case ["element", name, count] if count.isdecimal() and len(count) <= 18:
                elements.append((name, int(count), {}, []))
            case ["property", "list", length, value, name] if elements and {length, value} <= WIDTHS.keys():
                _add_property(path, elements[-1], name, "list", 2 if kind == "ascii" else WIDTHS[length])
            case ["property", value, name] if elements and value in WIDTHS:
                _add_property(path, elements[-1], name, value, 2 if kind == "ascii" else WIDTHS[value])
            case [] | ["ply" | "comment" | "obj_info" | "end_header", *_]:
                pass
            case _:
                raise PlyError(
                    f"{path}: header line {number} is not understood: {line.strip()[:80]!r}; export it again"
                )
    if not kind:
        raise PlyError(f"{path}: the header names no format; expected one of {', '.join(FORMATS)}")
    found = tuple(PlyElementHeader(name, count, types, sum(sizes)) for name, count, types, sizes in elements)
    return PlyHeader(kind, found)


def _add_property(
    path: Path, element: tuple[str, int, dict[str, str], list[int]], name: str, kind: str, width: int
) -> None:
    if name in element[2]:
        raise PlyError(f"{path}: element '{element[0]}' has property '{name}' twice; export the file again")
    element[2][name] = kind
    element[3].append(width)
