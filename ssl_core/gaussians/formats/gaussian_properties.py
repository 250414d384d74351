"""The names that the parameters of Gaussians have in files, and the values that no file may give them."""

import numpy as np

from ssl_core.errors import GaussianFileError
from ssl_core.gaussians.gaussian_cloud import Floats, GaussianCloud

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

_ROWS = 1 << 16


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


def check_gaussians(cloud: GaussianCloud, stored_rest: int | None = None) -> None:
    """Refuse values that no Gaussian may have.

    Raises GaussianFileError: a value is NaN or infinite (each property with its count), or a quaternion is zero.
    """
    # Row blocks: a mask of a whole cloud would be a quarter of its size.
    for first in range(0, len(cloud), _ROWS):
        rows = slice(first, first + _ROWS)
        arrays = (cloud.xyz, cloud.opacity_logits, cloud.log_scales, cloud.quaternions, cloud.sh_dc, cloud.sh_rest)
        if not all(np.isfinite(array[rows]).all() for array in arrays):
            raise GaussianFileError(_not_finite(cloud, stored_rest))
    zero = ~cloud.quaternions.any(axis=1)
    if zero.any():
        raise GaussianFileError(
            f"rot_0 to rot_3 are all zero for {int(zero.sum())} of {len(cloud)} Gaussians "
            f"(first: {int(np.argmax(zero))}); a quaternion may have any norm but zero: drop these Gaussians"
        )


def check_count(count: int, limit: int) -> None:
    """Refuse more Gaussians than `limit`. Raises GaussianFileError."""
    if count > limit:
        raise GaussianFileError(
            f"has {count:,} Gaussians, more than the {limit:,} allowed here; thin it out, or split it into objects"
        )


def _not_finite(cloud: GaussianCloud, stored_rest: int | None) -> str:
    """Which properties are not finite, how often, and where first."""
    bad, first = [], len(cloud)
    for names, table in named_columns(cloud, stored_rest):
        for i, name in enumerate(names):
            finite = np.isfinite(table[:, i])
            if not finite.all():
                nans = int(np.isnan(table[:, i]).sum())
                bad.append(f"'{name}' ({nans} NaN, {int((~finite).sum()) - nans} infinite)")
                first = min(first, int(np.argmin(finite)))
    return (
        f"not finite in {len(bad)} properties: {', '.join(bad[:6])}{' …' if len(bad) > 6 else ''}; "
        f"{len(cloud)} Gaussians, first bad one {first}: drop these Gaussians or train again"
    )
