"""A plain point cloud as arrays, and which points cannot be used: the one place through which all readers' rows go."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.errors import PointCloudError
from ssl_core.gaussians.gaussian_cloud import SUFFIXES, Floats, GaussianCloud
from ssl_core.gaussians.surface_discs import surface_discs
from ssl_core.gaussians.usable_rows import DROPPED, MAX_VALUE

CLOUD_SUFFIXES = (".ply", ".pcd", ".npy", ".xyz", ".pts", ".txt")
"""Endings of files that may hold a plain point cloud; a .ply is one if it has no column of a Gaussian but x, y, z."""

POINT_SUFFIXES = (*SUFFIXES, *(ending for ending in CLOUD_SUFFIXES if ending not in SUFFIXES))
"""Endings of files of Gaussians or of plain points."""

GREY = 0.7
"""Colour of points whose file gives none, where they are drawn."""

NO_NORMALS = "all normals are zero, so they count as not given"

_UNIT, _NEARLY_ALL = 0.05, 0.9
"""Columns are normals if so many of them have a length within so much of 1: colours and anything else do not."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """N points."""

    xyz: Floats  # [N, 3] object units
    normals: Floats | None = None  # [N, 3] unit
    colours: Floats | None = None  # [N, 3] in [0, 1]
    notes: tuple[str, ...] = ()  # what became of the file's columns
    # numbers of the file's points that are not here, because they cannot be used and it was asked to drop such
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def groups(self) -> tuple[str, ...]:
        """Feature groups that it has (`ssl_core.contracts`)."""
        normals, colours = self.normals is not None, self.colours is not None
        return ("xyz", *(("sh_dc",) if colours else ()), *(("normals",) if normals else ()))

    def as_gaussians(self) -> GaussianCloud:
        """Flat discs across the normals, or balls: what a pack stores of points."""
        count = len(self.xyz)
        colours = np.full((count, 3), GREY, np.float32) if self.colours is None else self.colours
        centred = self.xyz.astype(np.float64) - self.xyz.mean(axis=0, dtype=np.float64)
        radius = float(np.sqrt(np.einsum("nc,nc->n", centred, centred).mean()))
        return surface_discs(self.xyz, self.normals, colours, 2 * radius / np.sqrt(count))


def usable_points(
    xyz: NDArray[Any],
    normals: NDArray[Any] | None,
    colours: NDArray[Any] | None,
    *,
    drop_bad_rows: bool = False,
) -> PointCloud:
    """A cloud that can be computed with, of what a file holds; normals are brought to unit length.

    Args:
        xyz: [N, 3].
        normals: [N, 3] of length 1, nearly; None, or all zero, for none.
        colours: [N, 3] in [0, 1], or None.
        drop_bad_rows: leave points out that have a value that is NaN, infinite or beyond MAX_VALUE, a colour that is
            not finite, or a normal of length zero.

    Raises:
        PointCloudError: there are such points and they are not to be dropped; columns taken for normals that are none;
            fewer than two points, or all at one place.
    """
    notes: tuple[str, ...] = ()
    if normals is not None and not normals.any():
        normals, notes = None, (NO_NORMALS,)
    bad = _bad(xyz)
    lengths = None if normals is None else np.linalg.norm(normals.astype(np.float64), axis=1)
    if colours is not None:
        bad |= ~np.isfinite(colours).all(axis=1)
    if normals is not None and lengths is not None:
        bad |= _bad(normals) | (lengths == 0)
        _check_unit(lengths[~bad])
    count, first = int(bad.sum()), int(np.argmax(bad)) if len(bad) else 0
    if count and not drop_bad_rows:
        tables = (table for table in (xyz, normals, colours) if table is not None)
        values = ", ".join(f"{value:.6g}" for table in tables for value in table[first])
        raise PointCloudError(
            f"{count:,} of {len(xyz):,} points cannot be used (NaN, infinite, beyond {MAX_VALUE:g}, or a normal of "
            f"length zero); first: point {first} ({values}); leave them out with --drop-bad-rows, or export it again"
        )
    kept = ~bad
    points = xyz[kept].astype(np.float32)
    if len(points) < 2:
        raise PointCloudError(f"has {len(points)} usable point(s) of {len(xyz):,}; a cloud needs at least 2")
    if (points == points[0]).all():
        raise PointCloudError(f"its {len(points):,} points all lie at one place (extent 0); export it again")
    unit = None if normals is None or lengths is None else (normals[kept] / lengths[kept, None]).astype(np.float32)
    tints = None if colours is None else np.clip(colours[kept], 0, 1).astype(np.float32)
    return PointCloud(points, unit, tints, (*notes, *((DROPPED,) if count else ())), np.flatnonzero(bad))


def _bad(values: NDArray[Any]) -> NDArray[np.bool_]:
    """[N] rows with a value that is NaN, infinite or too large."""
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = ~(np.abs(values) <= MAX_VALUE).all(axis=1)
    return found


def _check_unit(lengths: NDArray[np.float64]) -> None:
    """Raises PointCloudError for columns that are no normals."""
    if len(lengths) and (np.abs(lengths - 1) < _UNIT).mean() < _NEARLY_ALL:
        low, high = np.quantile(lengths, [0.05, 0.95])
        raise PointCloudError(
            f"the columns of its normals are no unit vectors (lengths {low:.3g} to {high:.3g}); leave them out, or "
            "write normals there (colours are read from .ply and .pcd, by their names)"
        )
