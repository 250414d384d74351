"""Any file of points, Gaussians or plain, as Gaussians, with the feature groups that are its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.clouds.cloud_file import is_point_cloud, read_point_cloud
from ssl_core.files.source import Source
from ssl_core.gaussians.formats.spz_axes import SpzAxes
from ssl_core.gaussians.gaussian_cloud import GAUSSIAN_GROUPS, GaussianCloud
from ssl_core.gaussians.gaussian_file import gaussian_source, read_gaussians


@dataclass(frozen=True, eq=False)
class ReadPoints:
    """The Gaussians, or points in their form, of one object."""

    cloud: GaussianCloud  # those that can be used
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # rows that cannot
    notes: tuple[str, ...] = ()  # what the file could not carry
    groups: tuple[str, ...] = GAUSSIAN_GROUPS  # feature groups that are the file's own, sh_rest left out


def read_points(
    place: Source | Path | str,
    *,
    spz_axes: SpzAxes | None = None,
    beside: Iterable[Source] | None = None,
    drop_bad_rows: bool = False,
) -> ReadPoints:
    """Read a file of Gaussians (`read_gaussians`, whose arguments these are) or of plain points (`read_point_cloud`).

    Raises GaussianFileError: no such format, damaged, or values that cannot be used.
    """
    source = gaussian_source(place)
    if is_point_cloud(source):
        points = read_point_cloud(source, drop_bad_rows=drop_bad_rows)
        return ReadPoints(points.as_gaussians(), points.dropped, points.notes, points.groups)
    file = read_gaussians(source, spz_axes=spz_axes, beside=beside, drop_bad_rows=drop_bad_rows)
    return ReadPoints(file.cloud, file.dropped, file.notes)
