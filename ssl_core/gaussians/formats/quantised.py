"""Opacities and quaternions as compressed files store them.

Opacities are one byte. Quaternions are their three smallest components and the index of the largest, which is at least
1/2 and may be taken positive (q and -q are one rotation): it follows from the others, which lie within +-sqrt(1/2).
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.gaussians.gaussian_cloud import Floats

Doubles = NDArray[np.float64]

_ALPHAS = np.clip(np.arange(256) / 255, 1 / 510, 1 - 1 / 510)
_LOGITS: Floats = np.log(_ALPHAS / (1 - _ALPHAS)).astype(np.float32)
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Indices of the three stored components, ascending, by index of the largest."""


def logits_of_bytes(alphas: NDArray[np.uint8]) -> tuple[Floats, tuple[str, ...]]:
    """Opacity logits of alpha = byte / 255, and a note when some were 0 or 255.

    Their logits would be infinite; half a quantisation step (1/510) inside is taken instead.
    """
    extreme = int(np.count_nonzero((alphas == 0) | (alphas == 255)))
    note = f"opacities of {extreme:,} Gaussians are stored as 0 or 1; they are read as 1/510 within"
    return _LOGITS[alphas], (note,) if extreme else ()


def restore_largest(largest: NDArray[np.integer], three: Doubles) -> Doubles:
    """Unit quaternions [N, 4] of the index of the component left out, 0 to 3, [N], and the others ascending, [N, 3]."""
    quaternions = np.zeros((len(three), 4))
    np.put_along_axis(quaternions, _OTHERS[largest], three, axis=1)
    # Damaged bits can make the three longer than one; then the largest is 0 and the norm still not.
    rest = np.sqrt(np.maximum(0.0, 1.0 - (three * three).sum(axis=1)))
    np.put_along_axis(quaternions, largest[:, None].astype(np.intp), rest[:, None], axis=1)
    return quaternions


def unpack_10_bits(words: NDArray[np.uint32]) -> Doubles:
    """Words of .spz version 3: 2 bits of index, then three times a sign bit and 9 bits of magnitude. [N] -> [N, 4]."""
    three = np.empty((len(words), 3))
    for i, shift in enumerate((20, 10, 0)):
        field = (words >> np.uint32(shift)) & np.uint32(1023)
        magnitude = (field & np.uint32(511)) * (np.sqrt(0.5) / 511)
        three[:, i] = np.where(field >> np.uint32(9), -magnitude, magnitude)
    return restore_largest(words >> np.uint32(30), three)


def unpack_bytes(pixels: NDArray[np.uint8]) -> Doubles:
    """Pixels of .sog: three components as bytes, then 252 + the index of the largest. [N, 4] -> [N, 4]."""
    three = (pixels[:, :3] * (2 / 255) - 1) * np.sqrt(0.5)
    return restore_largest(pixels[:, 3] - np.uint8(252), three)
