"""A cloud of 3D Gaussians as plain arrays, in the parameters that .ply files store, and what a file of them held.

Names say the activation state: `opacity_logits` go through a sigmoid, `log_scales` through an exponential,
`quaternions` are wxyz and of any non-zero norm. Conventions follow Kerbl et al. 2023, "3D Gaussian Splatting
for Real-Time Radiance Field Rendering" (https://arxiv.org/abs/2308.04079).
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ssl_core.errors import DataError

Floats = NDArray[np.float32]

GaussianFormat = Literal["ply", "compressed_ply", "splat", "spz", "sog", "ksplat"]
SUFFIXES = (".ply", ".splat", ".spz", ".sog", ".ksplat")
"""Endings of files that may hold Gaussians; `.compressed.ply` is a .ply by name and told apart by its header."""

GAUSSIAN_GROUPS = ("xyz", "opacity", "scale", "rotation", "sh_dc", "normals")
"""Feature groups that Gaussians have whatever their degree. Of plain points only those count that their files had:
the other columns of their rows are made up, a flat disc or a ball each."""

MAX_GAUSSIANS = 3_000_000
"""More in one object are refused before their arrays are made: 236 bytes each, and a worker has 1.5 GB."""

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_C0 * sh_dc."""

SH_REST: tuple[int, ...] = (0, 3, 8, 15)
"""Coefficients per channel beyond the constant one, by degree 0 to 3: (degree + 1)^2 - 1."""


@dataclass(frozen=True, eq=False)
class GaussianCloud:
    """N Gaussians. All arrays are float32 and C-contiguous; others are converted when the cloud is made.

    Raises DataError: an array does not have its shape.
    """

    xyz: Floats  # centres, [N, 3], object units
    opacity_logits: Floats  # [N]
    log_scales: Floats  # natural logarithm of the standard deviations along the local axes, [N, 3]
    quaternions: Floats  # local to world rotation, wxyz, any norm but zero, [N, 4]
    sh_dc: Floats  # constant colour coefficient, [N, 3]
    sh_rest: Floats  # higher colour coefficients, [N, K, 3] with K = 0, 3, 8 or 15 for degree 0 to 3

    def __post_init__(self) -> None:
        count = len(self.xyz)
        rest = np.shape(self.sh_rest)[1] if np.ndim(self.sh_rest) == 3 else -1
        if rest not in SH_REST:
            raise DataError(f"sh_rest has shape {np.shape(self.sh_rest)}; expected [N, K, 3] with K in {SH_REST}")
        shapes = {
            "xyz": (count, 3),
            "opacity_logits": (count,),
            "log_scales": (count, 3),
            "quaternions": (count, 4),
            "sh_dc": (count, 3),
            "sh_rest": (count, rest, 3),
        }
        for name, shape in shapes.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            if array.shape != shape:
                raise DataError(f"{name} of a cloud of {count} Gaussians has shape {array.shape}; expected {shape}")
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.xyz)

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return SH_REST.index(self.sh_rest.shape[1])

    def alphas(self) -> Floats:
        """Opacities in [0, 1], [N]."""
        return np.asarray(expit(self.opacity_logits), dtype=np.float32)

    def select(self, index: NDArray[Any] | slice) -> "GaussianCloud":
        """The Gaussians at `index` (integers, booleans or a slice), in that order."""
        return GaussianCloud(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def padded(self, sh_degree: int) -> "GaussianCloud":
        """The same cloud with zero coefficients up to `sh_degree`, which must not be below its own."""
        rest = np.zeros((len(self), SH_REST[sh_degree], 3), dtype=np.float32)
        rest[:, : self.sh_rest.shape[1]] = self.sh_rest
        return GaussianCloud(self.xyz, self.opacity_logits, self.log_scales, self.quaternions, self.sh_dc, rest)


def empty_cloud(count: int, rest: int) -> GaussianCloud:
    """Arrays for `count` Gaussians with `rest` coefficients per channel, not yet filled."""
    shapes = ((count, 3), (count,), (count, 3), (count, 4), (count, 3), (count, rest, 3))
    return GaussianCloud(*(np.empty(shape, dtype=np.float32) for shape in shapes))


@dataclass(frozen=True, eq=False)
class GaussianFile:
    """What a file held."""

    cloud: GaussianCloud  # its Gaussians, SH degree at most 3
    format: GaussianFormat  # the kind of file
    sh_degree: int  # degree stored in the file, which may be above the cloud's
    # what the format or its degree cost, one sentence each: "quaternions have 8 bits per component"
    notes: tuple[str, ...] = ()
    # numbers of the file's rows that are not in the cloud, because they cannot be used and it was asked to drop such
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
