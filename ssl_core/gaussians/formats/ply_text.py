"""Rows of an ascii .ply: one line each, exactly, so that no cut or shifted number is taken for another."""

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.ply_header import PlyElementHeader
from ssl_core.gaussians.formats.streams import BLOCK, Bytes

LINE_LIMIT = 1 << 23
"""Bytes in which a line must end."""

_LINES_AT_ONCE = 4096


def text_lines(source: Source, stream: BinaryIO, line_end: bytes) -> Iterator[bytes]:
    """The lines of the rest of the stream, without their ends.

    Raises:
        PlyError: the last line has no end (a number cut in half still looks like a number), or a line never ends.
    """
    pending = b""
    while chunk := stream.read(BLOCK):
        *lines, pending = (pending + chunk).split(line_end)
        yield from lines
        if len(pending) > LINE_LIMIT:
            raise PlyError(f"{source}: has a line longer than {LINE_LIMIT:,} bytes; is it binary? export it again")
    if pending:
        raise PlyError(f"{source}: is truncated: the last line has no line end; copy it again (or end the line)")


def skip_text_rows(source: Source, lines: Iterator[bytes], number: int, before: tuple[PlyElementHeader, ...]) -> int:
    """Pass over the rows of elements; the number of lines read so far, of which the header had `number`."""
    for element in before:
        found = sum(1 for _ in islice(lines, element.count))
        _check_count(source, element, found)
        number += found
    return number


def text_rows(
    source: Source, lines: Iterator[bytes], number: int, element: PlyElementHeader, *, is_last: bool
) -> Iterator[tuple[slice, Bytes]]:
    """Blocks of rows as doubles, side by side: the element's scalars in order, lists left out.

    Args:
        source: for texts.
        lines: those of the rows, and whatever follows them.
        number: of the line before the first.
        element: whose rows they are.
        is_last: whether nothing but empty lines may follow.

    Raises:
        PlyError: too few rows or too many, or a line with a value too many, too few or that is no number; names it.
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
            _check_count(source, element, first)
        table = _table(source, block, number + first, element)
        yield slice(first, first + len(block)), table.view(np.uint8).reshape(-1)
        first += len(block)
    if is_last and any(map(bytes.strip, lines)):
        raise PlyError(
            f"{source}: has more lines than the header's {element.count} rows of {element.name[:40]!r}: the count is "
            "wrong; export the file again"
        )


def _check_count(source: Source, element: PlyElementHeader, found: int) -> None:
    if found < element.count:
        raise PlyError(
            f"{source}: is truncated: the header promises {element.count} rows of {element.name[:40]!r}, "
            f"{found} are there; copy it again"
        )


def _table(source: Source, block: list[bytes], number: int, element: PlyElementHeader) -> NDArray[np.float64]:
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
    rows = [_numbers(source, line, number + i + 1, element) for i, line in enumerate(block)]
    return np.array(rows, dtype=np.float64).reshape(len(block), width)


def _numbers(source: Source, line: bytes, number: int, element: PlyElementHeader) -> list[float]:
    """The scalars of one line. Raises PlyError naming the line and the property."""
    words = line.split()
    values: list[float] = []
    at = 0
    for name, kind in element.types.items():
        if at >= len(words):
            raise PlyError(
                f"{source}: line {number} has {len(words)} values, too few for its {len(element.types)} properties "
                f"(nothing for {name[:40]!r}); copy or export the file again"
            )
        word = words[at]
        at += 1
        if kind.startswith("list "):
            at += _length(source, word, number, name)
            continue
        try:
            # Python's underscores in numbers are not .ply's.
            values.append(float(word.replace(b"_", b"?")))
        except ValueError:
            raise PlyError(
                f"{source}: line {number}, property {name[:40]!r}: {_shown(word)} is no number; export the file again"
            ) from None
    if at != len(words):
        raise PlyError(f"{source}: line {number} has {len(words)} values, expected {at}; copy or export the file again")
    return values


def _length(source: Source, word: bytes, number: int, name: str) -> int:
    if not word.isdigit() or len(word) > 9:
        raise PlyError(f"{source}: line {number}, list {name[:40]!r}: {_shown(word)} is no length; export it again")
    return int(word)


def _shown(word: bytes) -> str:
    return repr(word[:40].decode("ascii", errors="replace"))
