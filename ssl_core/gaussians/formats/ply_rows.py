"""The rows of one .ply element as blocks of bytes with a fixed layout, whatever the file's dialect.

Binary rows without lists are taken as they are. Binary rows with lists have no fixed length: each list's length is read
in turn, and the scalars are gathered. Rows of text are one line each, exactly, so that no cut or shifted number is
taken for another; they become rows of doubles.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.bounded_reading import BLOCK, Bytes, read_blocks, read_into, skip
from ssl_core.gaussians.formats.ply_header import CODES, PlyElementHeader, PlyHeader

BODY_LIMIT = 1 << 29
"""Bytes of a file with lists, which is read as a whole."""

LISTS_LIMIT = 4_000_000
"""Lists that are stepped over, about two seconds."""

_STRUCT = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I"}

LINE_LIMIT = 1 << 23
"""Bytes in which a line must end."""

_LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class Rows:
    """Rows of one element."""

    row_size: int  # bytes per row
    fields: dict[str, tuple[int, np.dtype[Any]]]  # scalar property -> (offset in the row, type)
    # which rows, and their bytes [n * row_size], which are valid until the next block is asked for
    blocks: Iterator[tuple[slice, Bytes]]


def open_rows(source: Source, stream: BinaryIO, header: PlyHeader, name: str) -> Rows:
    """The rows of element `name`, which the header has; `stream` stands where the header ends.

    Raises PlyError: here or while blocks are taken: truncated, a line of text that is no row, or lists beyond the file.
    """
    place = [element.name for element in header.elements].index(name)
    before, element = header.elements[:place], header.elements[place]
    fields = header.fields(element)
    if header.format == "ascii":
        doubles = {key: (8 * i, np.dtype(np.float64)) for i, key in enumerate(fields)}
        lines = text_lines(stream, header.line_end)
        number = skip_text_rows(lines, header.lines, before)
        is_last = place == len(header.elements) - 1
        return Rows(8 * len(doubles), doubles, text_rows(lines, number, element, is_last=is_last))
    row_size = sum(dtype.itemsize for _, dtype in fields.values())
    if not any(one.has_lists for one in (*before, element)):
        skip(source, stream, sum(one.count * one.row_size for one in before))
        return Rows(row_size, fields, read_blocks(stream, element.count, row_size))
    content = read_body(stream, header)
    at = 0
    for one in (*before, element):
        scalars, at = _scalars(header, one, content, at)
    return Rows(row_size, fields, iter([(slice(0, element.count), scalars)]))


def read_body(stream: BinaryIO, header: PlyHeader) -> Bytes:
    """All that follows the header. Raises PlyError when it is too long for a file with lists."""
    if header.left > BODY_LIMIT:
        raise PlyError(
            f"has list properties up to its vertices and {header.left:,} bytes, more than the {BODY_LIMIT:,} read "
            "of such a file; export the Gaussians alone"
        )
    content = np.empty(header.left, dtype=np.uint8)
    read_into(stream, content.data)
    return content


def _scalars(header: PlyHeader, element: PlyElementHeader, content: Bytes, at: int) -> tuple[Bytes, int]:
    """The element's rows without their lists, moved together within `content`, and the first byte after the element.

    Raises PlyError: a list ends behind the file or has a negative length, or there are too many lists.
    """
    if not element.has_lists:
        end = at + element.count * element.row_size
        if end > len(content):
            raise PlyError(f"is truncated in {element.name[:40]!r}; copy or export the file again")
        return content[at:end], end
    layout = _layout(header, element)
    lists = element.count * sum(length is not None for _, length, _ in layout)
    if lists > LISTS_LIMIT:
        raise PlyError(
            f"element {element.name[:40]!r} has {lists:,} lists, more than the {LISTS_LIMIT:,} read here; "
            "export the Gaussians alone"
        )
    view, size, first, to = content.data, len(content), at, at
    for row in range(element.count):
        for run, length, value_size in layout:
            if at + run > size:
                raise PlyError(f"is truncated in {element.name[:40]!r} row {row}; copy or export the file again")
            view[to : to + run] = bytes(view[at : at + run])
            at, to = at + run, to + run
            if length is None:
                continue
            found = length.unpack_from(view, at)[0] if at + length.size <= size else -1
            at += length.size + found * value_size
            if found < 0 or at > size:
                raise PlyError(
                    f"is truncated or damaged: a list of {element.name[:40]!r} row {row} has length {found} "
                    f"at byte {header.size + at}; copy or export the file again"
                )
    return content[first:to], at


def _layout(header: PlyHeader, element: PlyElementHeader) -> list[tuple[int, struct.Struct | None, int]]:
    """A row in parts: bytes of scalars, then the length of a list (None for no list) and the bytes of its values."""
    parts, run = [], 0
    order = ">" if header.format == "binary_big_endian" else "<"
    for kind in element.types.values():
        if kind.startswith("list "):
            count, value = (CODES[word] for word in kind.split()[1:])
            parts.append((run, struct.Struct(order + _STRUCT[count]), int(value[1])))
            run = 0
        else:
            run += int(CODES[kind][1])
    return [*parts, (run, None, 0)]


def text_lines(stream: BinaryIO, line_end: bytes) -> Iterator[bytes]:
    """The lines of the rest of the stream, without their ends.

    Raises PlyError: the last line has no end (a number cut in half still looks like a number), or a line never ends.
    """
    pending = b""
    while chunk := stream.read(BLOCK):
        *lines, pending = (pending + chunk).split(line_end)
        yield from lines
        if len(pending) > LINE_LIMIT:
            raise PlyError(f"has a line longer than {LINE_LIMIT:,} bytes; is it binary? export it again")
    if pending:
        raise PlyError("is truncated: the last line has no line end; copy it again (or end the line)")


def skip_text_rows(lines: Iterator[bytes], number: int, before: tuple[PlyElementHeader, ...]) -> int:
    """Pass over the rows of elements; the number of lines read so far, `number` of them before."""
    for element in before:
        found = sum(1 for _ in islice(lines, element.count))
        _check_count(element, found)
        number += found
    return number


def text_rows(
    lines: Iterator[bytes], number: int, element: PlyElementHeader, *, is_last: bool
) -> Iterator[tuple[slice, Bytes]]:
    """Blocks of rows as doubles, side by side: the element's scalars in order, lists left out.

    `number` is that of the line before the first; behind the last element only empty lines may follow.

    Raises PlyError: too few rows or too many, or a line with a value too many, too few or that is no number; names it.
    """
    first = 0
    while first < element.count:
        block, size = [], 0
        for line in islice(lines, min(_LINES_AT_ONCE, element.count - first)):
            block.append(line)
            size += len(line)
            if size > BLOCK:
                break
        if not block:
            _check_count(element, first)
        table = _table(block, number + first, element)
        yield slice(first, first + len(block)), table.view(np.uint8).reshape(-1)
        first += len(block)
    if is_last and any(map(bytes.strip, lines)):
        raise PlyError(
            f"has more lines than the header's {element.count} rows of {element.name[:40]!r}: the count is "
            "wrong; export the file again"
        )


def _check_count(element: PlyElementHeader, found: int) -> None:
    if found < element.count:
        raise PlyError(
            f"is truncated: the header promises {element.count} rows of {element.name[:40]!r}, "
            f"{found} are there; copy it again"
        )


def _table(block: list[bytes], number: int, element: PlyElementHeader) -> NDArray[np.float64]:
    """The block's numbers, [lines, scalars]. The fast parser says yes or no; the slow one says where."""
    width = sum(not kind.startswith("list ") for kind in element.types.values())
    if not element.has_lists and all(map(bytes.isascii, block)) and all(map(bytes.strip, block)):
        try:
            # float64: what a double property holds; comments off, or a row that starts with # would vanish.
            table = np.loadtxt([line.decode() for line in block], dtype=np.float64, comments=None, ndmin=2)
            if table.shape == (len(block), width):
                return table
        except ValueError:
            pass
    rows = [_numbers(line, number + i + 1, element) for i, line in enumerate(block)]
    return np.array(rows, dtype=np.float64).reshape(len(block), width)


def _numbers(line: bytes, number: int, element: PlyElementHeader) -> list[float]:
    """The scalars of one line. Raises PlyError naming the line and the property."""
    words = line.split()
    values: list[float] = []
    at = 0
    for name, kind in element.types.items():
        if at >= len(words):
            raise PlyError(
                f"line {number} has {len(words)} values, too few for its {len(element.types)} properties "
                f"(nothing for {name[:40]!r}); copy or export the file again"
            )
        word = words[at]
        at += 1
        if kind.startswith("list "):
            at += _length(word, number, name)
            continue
        try:
            # Python's underscores in numbers are not .ply's.
            values.append(float(word.replace(b"_", b"?")))
        except ValueError:
            raise PlyError(
                f"line {number}, property {name[:40]!r}: {_shown(word)} is no number; export the file again"
            ) from None
    if at != len(words):
        raise PlyError(f"line {number} has {len(words)} values, expected {at}; copy or export the file again")
    return values


def _length(word: bytes, number: int, name: str) -> int:
    if not word.isdigit() or len(word) > 9:
        raise PlyError(f"line {number}, list {name[:40]!r}: {_shown(word)} is no length; export it again")
    return int(word)


def _shown(word: bytes) -> str:
    return repr(word[:40].decode("ascii", errors="replace"))
