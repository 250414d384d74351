"""What a lens does to straight lines."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

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
