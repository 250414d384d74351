"""What every decoder of this folder returns, and how much it may."""

from dataclasses import dataclass
from typing import Literal

from ssl_core.gaussians.gaussian_cloud import GaussianCloud

GaussianFormat = Literal["ply", "compressed_ply", "splat", "spz", "sog"]
SUFFIXES = (".ply", ".splat", ".spz", ".sog")
"""Endings of files that may hold Gaussians; `.compressed.ply` is a .ply by name and told apart by its header."""

MAX_GAUSSIANS = 3_000_000
"""More in one object are refused before their arrays are made: 236 bytes each, and a worker has 1.5 GB."""


@dataclass(frozen=True, eq=False)
class GaussianFile:
    """What a file held.

    Args:
        cloud: its Gaussians, SH degree at most 3.
        format: the kind of file.
        sh_degree: degree stored in the file, which may be above the cloud's.
        notes: what the format or its degree cost, one sentence each: "quaternions have 8 bits per component".
    """

    cloud: GaussianCloud
    format: GaussianFormat
    sh_degree: int
    notes: tuple[str, ...] = ()
