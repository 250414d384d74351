"""The rows of one .ply element as blocks of bytes with a fixed layout, whatever the file's dialect.

Binary rows without lists are taken as they are; rows of text become rows of doubles; of binary rows with lists the
scalars are gathered. What copies columns out of the blocks need not know which.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ssl_core.errors import PlyError
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.ply_header import PlyHeader
from ssl_core.gaussians.formats.ply_lists import gather_scalars, read_body, row_starts
from ssl_core.gaussians.formats.ply_text import skip_text_rows, text_lines, text_rows
from ssl_core.gaussians.formats.streams import Bytes, read_blocks, skip

_DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class Rows:
    """Rows of one element.

    Args:
        row_size: bytes per row.
        fields: scalar property -> (offset in the row, type).
        blocks: which rows, and their bytes [n * row_size], which are valid until the next block is asked for.
    """

    row_size: int
    fields: dict[str, tuple[int, np.dtype[Any]]]
    blocks: Iterator[tuple[slice, Bytes]]


def open_rows(source: Source, stream: BinaryIO, header: PlyHeader, name: str) -> Rows:
    """The rows of element `name`, which the header has; `stream` stands where the header ends.

    Raises:
        PlyError: here or while blocks are taken: truncated, a line of text that is no row, or lists beyond the file.
    """
    place = [element.name for element in header.elements].index(name)
    before, element = header.elements[:place], header.elements[place]
    fields = header.fields(element)
    if header.format == "ascii":
        doubles = {key: (8 * i, _DOUBLE) for i, key in enumerate(fields)}
        lines = text_lines(source, stream, header.line_end)
        number = skip_text_rows(source, lines, header.lines, before)
        is_last = place == len(header.elements) - 1
        return Rows(8 * len(doubles), doubles, text_rows(source, lines, number, element, is_last=is_last))
    row_size = sum(dtype.itemsize for _, dtype in fields.values())
    if not any(one.has_lists for one in (*before, element)):
        skip(source, stream, sum(one.count * one.row_size for one in before), PlyError)
        return Rows(row_size, fields, read_blocks(source, stream, element.count, row_size, PlyError))
    content = read_body(source, stream)
    at = 0
    for one in before:
        at = row_starts(source, header, one, content, at)[1]
    starts, _ = row_starts(source, header, element, content, at)
    return Rows(row_size, fields, gather_scalars(header, element, content, starts))
