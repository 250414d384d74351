"""How crowded the points of a cloud are."""

from torch import Tensor

NEAR = 0.05
"""What is nearer counts as this far: the gradient of points in one place stays finite."""
_POINTS = 128


def dispersion(points: Tensor) -> Tensor:
    """Mean of 1 / distance over pairs of a cloud's points [B, N, 3] -> [B], its electrostatic energy.

    Within its outlines nothing else moves a point. Points that repel each other at any distance go to the surface of
    what holds them, as charges on a conductor do, where repulsion of neighbours alone would fill the inside evenly. Of
    large clouds every k-th point counts, at least 128.
    """
    some = points[:, :: max(1, points.shape[1] // _POINTS)]
    squared = (some[:, :, None] - some[:, None]).square().sum(-1)
    found: Tensor = (1 / (squared + NEAR * NEAR).sqrt()).mean(dim=(1, 2))
    return found
