"""What a lens does to straight lines, and where a point of the world lands in a picture."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.cameras import Camera

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Distortion:
    """Polynomials of the distance from the optical axis, as COLMAP and OpenCV define them.

    Args:
        kind: `perspective`: of r = tan(angle); `fisheye`: of the angle itself, in radians.
        radial: coefficients of r^2, r^4, r^6, ...: k1, k2, ...
        tangential: p1, p2; perspective only.
        denominator: coefficients under the fraction, k4 to k6 of OpenCV's rational model; perspective only.
    """

    kind: Literal["perspective", "fisheye"]
    radial: tuple[float, ...]
    tangential: tuple[float, float] = (0.0, 0.0)
    denominator: tuple[float, ...] = ()

    def __call__(self, xy: NDArray[Any]) -> Floats:
        """[N, 2] x/z, y/z of the ideal pinhole -> [N, 2] of this lens."""
        x, y = np.asarray(xy, dtype=np.float64).T
        square = x * x + y * y
        if self.kind == "fisheye":
            distance = np.sqrt(square)
            angle = np.arctan(distance)
            near = distance < 1e-12
            factor = angle * _polynomial(self.radial, angle * angle) / np.where(near, 1.0, distance)
            return np.stack([x, y], axis=1) * np.where(near, 1.0, factor)[:, None]
        factor = _polynomial(self.radial, square) / _polynomial(self.denominator, square)
        p1, p2 = self.tangential
        u = x * factor + 2 * p1 * x * y + p2 * (square + 2 * x * x)
        v = y * factor + 2 * p2 * x * y + p1 * (square + 2 * y * y)
        return np.stack([u, v], axis=1)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """1 + c1 x + c2 x^2 + ..."""
    value = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * x
    return 1 + value


def distortion(
    kind: Literal["perspective", "fisheye"],
    radial: tuple[float, ...],
    tangential: tuple[float, float] = (0.0, 0.0),
    denominator: tuple[float, ...] = (),
) -> Distortion | None:
    """The lens, or None for a pinhole: a perspective one without any coefficient. An ideal fisheye bends too."""
    if kind == "perspective" and not any((*radial, *tangential, *denominator)):
        return None
    return Distortion(kind, radial, tangential, denominator)


def project(camera: Camera, lens: Distortion | None, xyz: NDArray[Any]) -> tuple[Floats, Floats]:
    """Where world points [N, 3] are seen: pixels [N, 2] (centres at +0.5) and depths [N].

    Pixels of points with a depth that is not positive mean nothing.
    """
    local = np.asarray(xyz, dtype=np.float64) @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    depth = local[:, 2]
    flat = local[:, :2] / np.where(depth == 0, 1.0, depth)[:, None]
    bent = flat if lens is None else lens(flat)
    return bent * np.diag(camera.K)[:2] + camera.K[:2, 2], depth
