"""Binary .ply rows that hold lists: where each begins, and the scalars beside the lists.

Such rows have no fixed length, so each list's length is read in turn; INRIA's files have none.
"""

import struct
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.gaussian_properties import row_blocks
from ssl_core.gaussians.formats.ply_header import CODES, PlyElementHeader, PlyHeader
from ssl_core.gaussians.formats.streams import BLOCK, Bytes, read_into

BODY_LIMIT = 1 << 29
"""Bytes of a file with lists, which is read as a whole."""

LISTS_LIMIT = 4_000_000
"""Lists that are stepped over, about two seconds."""

_STRUCT = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I"}


def read_body(source: Source, stream: BinaryIO) -> Bytes:
    """All that follows the header. Raises PlyError when it is too long for a file with lists."""
    size = source.size - stream.tell()
    if size > BODY_LIMIT:
        raise PlyError(
            f"{source}: has list properties up to its vertices and {size:,} bytes, more than the {BODY_LIMIT:,} read "
            "of such a file; export the Gaussians alone"
        )
    content = np.empty(size, dtype=np.uint8)
    read_into(source, stream, content.data, PlyError)
    return content


def row_starts(
    source: Source, header: PlyHeader, element: PlyElementHeader, content: Bytes, at: int
) -> tuple[NDArray[np.int64], int]:
    """Offsets of each row's runs of scalars, [rows, lists + 1], and of the first byte after the element.

    Raises:
        PlyError: a list ends behind the file or has a negative length, or there are too many lists.
    """
    runs, lengths = _runs(header, element)
    if not lengths:
        return _even_starts(source, element, content, at)
    if element.count * len(lengths) > LISTS_LIMIT:
        raise PlyError(
            f"{source}: element {element.name[:40]!r} has {element.count * len(lengths):,} lists, more than the "
            f"{LISTS_LIMIT:,} read here; export the Gaussians alone"
        )
    starts = array("q")
    view, size = content.data, len(content)
    for row in range(element.count):
        for run, (code, width, value_width) in zip(runs, lengths, strict=False):
            starts.append(at)
            at += run
            length = code.unpack_from(view, at)[0] if at + width <= size else -1
            at += width + length * value_width
            if length < 0 or at > size:
                raise PlyError(
                    f"{source}: is truncated or damaged: a list of {element.name[:40]!r} row {row} has length {length} "
                    f"at byte {header.size + at}; copy or export the file again"
                )
        starts.append(at)
        at += runs[-1]
        if at > size:
            raise PlyError(f"{source}: is truncated in {element.name[:40]!r} row {row}; copy or export the file again")
    return np.frombuffer(starts, dtype=np.int64).reshape(element.count, len(runs)), at


def _even_starts(source: Source, element: PlyElementHeader, content: Bytes, at: int) -> tuple[NDArray[np.int64], int]:
    """`row_starts` of rows without lists."""
    end = at + element.count * element.row_size
    if end > len(content):
        raise PlyError(f"{source}: is truncated in {element.name[:40]!r}; copy or export the file again")
    # An element may have no properties at all, and then any number of rows.
    count = element.count if element.row_size else 0
    return at + element.row_size * np.arange(count, dtype=np.int64)[:, None], end


def gather_scalars(
    header: PlyHeader, element: PlyElementHeader, content: Bytes, starts: NDArray[np.int64]
) -> Iterator[tuple[slice, Bytes]]:
    """Blocks of rows with the runs of scalars side by side: (which rows, their bytes)."""
    runs, _ = _runs(header, element)
    for rows in row_blocks(element.count, max(1, BLOCK // sum(runs))):
        parts = [content[starts[rows, i, None] + np.arange(run)] for i, run in enumerate(runs)]
        yield rows, np.concatenate(parts, axis=1).reshape(-1)


def _runs(header: PlyHeader, element: PlyElementHeader) -> tuple[list[int], list[tuple[struct.Struct, int, int]]]:
    """Bytes of scalars before, between and after the lists; for each list its length's format and both widths."""
    runs, lengths = [0], []
    order = ">" if header.format == "binary_big_endian" else "<"
    for kind in element.types.values():
        if kind.startswith("list "):
            count, value = (CODES[word] for word in kind.split()[1:])
            lengths.append((struct.Struct(order + _STRUCT[count]), int(count[1]), int(value[1])))
            runs.append(0)
        else:
            runs[-1] += int(CODES[kind][1])
    return runs, lengths
