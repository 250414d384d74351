"""One .npy array from bytes that others wrote; nothing is ever unpickled."""

import io
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import DataError


def decode_npy(content: bytes, what: str) -> NDArray[Any]:
    """The array. Raises DataError naming `what`: no .npy, damaged, or of objects."""
    try:
        found = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, TypeError, OSError, OverflowError, MemoryError, EOFError, SyntaxError, TokenError) as error:
        reason = ascii(" ".join(str(error).split())[:120])[1:-1]
        raise DataError(f"{what}: is no .npy file ({reason}); write it again") from None
    values: NDArray[Any] = found
    return values
