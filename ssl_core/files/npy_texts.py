"""The texts of an .npy file, also of one whose array holds objects: those are a pickle, which is read and never run.

A pickle is a program for a machine that can call anything. Listing its instructions executes none of them, and the
texts of an array of strings stand in it as they are.
"""

import io
import pickletools
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ssl_core.errors import DataError

_REMEDY = "write the names as text, one a line, and give that file"
_TEXTS = frozenset(
    ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING")
)


def npy_texts(content: bytes) -> list[str]:
    """All texts of an array [n] or [n, 1] of strings or of objects that each are, or hold, one string.

    Of objects these are all texts of the pickle, also the few that say what an array is; who knows how a wanted text
    looks picks among them and compares with `npy_length`. A text that occurs twice may be listed once.

    Raises DataError: no .npy file, damaged, or of something else. Does not name the file.
    """
    stream = io.BytesIO(content)
    _, dtype = _header(stream)
    if dtype.kind == "O":
        return _pickled_texts(stream.read())
    if dtype.kind not in "US":
        raise DataError(f"holds {dtype}, not names; {_REMEDY}")
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False).reshape(-1)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise DataError(f"is damaged ({_short(error)}); {_REMEDY}") from None
    return [value.decode("latin-1") if isinstance(value, bytes) else value for value in values.tolist()]


def npy_length(content: bytes) -> int:
    """How many entries the array says to have. Raises DataError: no .npy file."""
    shape, _ = _header(io.BytesIO(content))
    return shape[0] if shape else 1


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    except (ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:
        raise DataError(f"is no .npy file ({_short(error)}); {_REMEDY}") from None
    return shape, dtype


def _pickled_texts(content: bytes) -> list[str]:
    try:
        found = [argument for opcode, argument, _ in pickletools.genops(content) if opcode.name in _TEXTS]
    except (ValueError, OverflowError, MemoryError, IndexError) as error:
        raise DataError(f"is damaged ({_short(error)}); {_REMEDY}") from None
    return [text for text in found if isinstance(text, str)]


def _short(error: Exception) -> str:
    return ascii(" ".join(str(error).split())[:120])[1:-1]
