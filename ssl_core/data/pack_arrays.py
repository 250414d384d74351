"""The arrays of a pack, mapped and held against its manifest: a damaged header is refused, not believed."""

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ssl_core.errors import PackError


def open_array(file: Path, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Map a .npy read-only.

    Args:
        file: the array.
        dtype: what it must hold.
        shape: what it must be; None for any length.

    Raises:
        PackError: no .npy, damaged, or of another type or shape.
    """
    try:
        found: NDArray[Any] = open_memmap(file, mode="r")
    except (OSError, ValueError, TypeError, OverflowError, EOFError, SyntaxError, TokenError) as error:
        reason = ascii(" ".join(str(error).split())[:120])
        raise PackError(f"{file}: is no array ({reason}); make the pack again") from None
    fits = found.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, found.shape, strict=True))
    if found.dtype != dtype or not fits or not found.flags.c_contiguous:
        expected = ", ".join("any" if s is None else str(s) for s in shape)
        raise PackError(
            f"{file}: holds {found.dtype} {list(found.shape)}, expected {np.dtype(dtype)} [{expected}]; make it again"
        )
    return found
