"""Parameters of Gaussians in files: their names, how many there may be, and their forms in few bits.

Opacities may be one byte. Quaternions may be their three smallest components and the index of the largest, which is at
least 1/2 and may be taken positive (q and -q are one rotation): it follows from the others, within +-sqrt(1/2).
"""

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import GaussianFileError
from ssl_core.gaussians.gaussian_cloud import Floats, GaussianCloud

Doubles = NDArray[np.float64]

XYZ = ("x", "y", "z")
NORMALS = ("nx", "ny", "nz")
DC = tuple(f"f_dc_{i}" for i in range(3))
OPACITY = ("opacity",)
SCALES = tuple(f"scale_{i}" for i in range(3))
ROTATION = tuple(f"rot_{i}" for i in range(4))
NEEDED = (*XYZ, *DC, *OPACITY, *SCALES, *ROTATION)
INRIA_PROPERTIES = (*XYZ, *NORMALS, *DC, *(f"f_rest_{i}" for i in range(45)), *OPACITY, *SCALES, *ROTATION)
"""Names and order of the properties that the authors' trainer writes and their viewers expect."""

STORED_REST = (0, 9, 24, 45, 72)
"""Number of f_rest properties of a file by SH degree 0 to 4: three channels of (degree + 1)^2 - 1."""

_ALPHAS = np.clip(np.arange(256) / 255, 1 / 510, 1 - 1 / 510)
_LOGITS: Floats = np.log(_ALPHAS / (1 - _ALPHAS)).astype(np.float32)
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Indices of the three stored components, ascending, by index of the largest."""


def rest_names(stored: int, kept: int) -> list[tuple[str, ...]]:
    """Names of the first `kept` coefficients of each channel in a file with `stored` f_rest properties.

    On disk they are channel-major: all of red, then green, then blue.
    """
    per_channel = stored // 3
    return [tuple(f"f_rest_{channel * per_channel + k}" for k in range(kept)) for channel in range(3)]


def named_columns(cloud: GaussianCloud, stored_rest: int | None = None) -> list[tuple[tuple[str, ...], Floats]]:
    """Views of the cloud's arrays, [N, names], with the names that a .ply has for their columns.

    `stored_rest` is the number of f_rest properties in the file, where it has a higher degree than the cloud.
    """
    kept = cloud.sh_rest.shape[1]
    rest = rest_names(3 * kept if stored_rest is None else stored_rest, kept)
    return [
        (XYZ, cloud.xyz),
        (OPACITY, cloud.opacity_logits[:, None]),
        (SCALES, cloud.log_scales),
        (ROTATION, cloud.quaternions),
        (DC, cloud.sh_dc),
        *((names, cloud.sh_rest[:, :, channel]) for channel, names in enumerate(rest) if names),
    ]


def check_count(count: int, limit: int) -> None:
    """Refuse more Gaussians than `limit`. Raises GaussianFileError."""
    if count > limit:
        raise GaussianFileError(
            f"has {count:,} Gaussians, more than the {limit:,} allowed here; thin it out, or split it into objects"
        )


def logits_of_bytes(alphas: NDArray[np.uint8]) -> tuple[Floats, tuple[str, ...]]:
    """Opacity logits of alpha = byte / 255, and a note when some were 0 or 255.

    Their logits would be infinite; half a quantisation step (1/510) inside is taken instead.
    """
    return _LOGITS[alphas], ends_note(int(np.count_nonzero((alphas == 0) | (alphas == 255))))


def logit_ends() -> tuple[float, float]:
    """What logits of alphas of exactly 0 and 1 are read as."""
    return float(_LOGITS[0]), float(_LOGITS[-1])


def ends_note(count: int) -> tuple[str, ...]:
    """What is noted where `count` alphas, if any, were exactly 0 or 1."""
    note = f"opacities of {count:,} Gaussians are stored as 0 or 1; they are read as 1/510 within"
    return (note,) if count else ()


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
