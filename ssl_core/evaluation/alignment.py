"""The one rotation between a set of reconstructed clouds and the true ones.

Clouds that were learnt from images alone lie in a frame that nothing fixes: the whole set is turned once before it is
compared, by a rotation fitted on validation objects. It is found by iterated closest points (Besl, McKay 1992), both
ways, all objects sharing one rotation about the origin (Kabsch 1976), from the 24 rotations of a cube: nothing is moved
and nothing scaled but the whole set to the whole set's size.

Images do not tell a shape from its mirror image seen by mirrored cameras. Where a set fits better mirrored, that is
told and not mended: no rotation makes a left shoe a right one.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssl_core.losses.chamfer import chamfer, nearest

_OBJECTS, _POINTS = 16, 160
"""of the search over many starts"""
_STEPS, _LAST_STEPS, _LAST_OBJECTS, _LAST_POINTS = 4, 20, 32, 384
_KEPT = 3
"""starts that are followed to the end"""
_STILL = 1e-3
"""radians: a step of less ends the iteration"""
_DOUBLINGS = 5
"""of a step, at most"""
MIRRORED = 0.8
"""A set whose mirror image is off by less than this share of its own distance is mirrored; of symmetric objects both
fit as well."""


@dataclass(frozen=True)
class Alignment:
    """x' = scale rotation x takes reconstructed clouds into the true frame.

    distance: mean CD-L2 after it, in units of the true clouds' root-mean-square radius. mirrored: the same after the
    best rotation of the mirror images; infinite where it was not looked for. scale: the true set's root-mean-square
    radius over the reconstructed one's.
    """

    rotation: Tensor  # [3, 3] float32
    distance: float
    mirrored: float = math.inf
    scale: float = 1.0

    @property
    def is_mirrored(self) -> bool:
        """Whether the clouds are mirror images of the true ones rather than themselves."""
        return self.mirrored < MIRRORED * self.distance


def cube_rotations() -> Tensor:
    """[24, 3, 3] the rotations of a cube, the identity first."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3)
            matrix[range(3), order] = torch.tensor(signs)
            if torch.linalg.det(matrix) > 0:
                found.append(matrix)
    return torch.stack(found)


def fit_rotation(
    clouds: Tensor, truth: Tensor, starts: Tensor | None = None, *, look_for_mirror: bool = False
) -> Alignment:
    """The best rotation of `clouds` [n, N, 3] onto `truth` [n, M, 3], object by object in the same order.

    Args:
        starts: [S, 3, 3] rotations to begin with; None: those of a cube. One that is nearly right needs no others.
        look_for_mirror: whether the clouds' mirror images are turned too.

    It is deterministic: of many objects and points some are taken, evenly spaced. Cost: 24 starts of 16 objects and 160
    points take about two seconds on a core.
    """
    clouds = clouds.detach()
    found = replace(_searched(clouds, truth, starts), scale=float(_radius(truth) / _radius(clouds)))
    if not look_for_mirror:
        return found
    mirrored = _searched(clouds * clouds.new_tensor((-1.0, 1.0, 1.0)), truth, None)
    return replace(found, mirrored=mirrored.distance)


def _searched(clouds: Tensor, truth: Tensor, starts: Tensor | None) -> Alignment:
    few = _thinned(clouds, truth, _OBJECTS, _POINTS)
    tried = [_followed(start, *few, _STEPS) for start in (cube_rotations() if starts is None else starts)]
    best = sorted(tried, key=lambda found: found.distance)[:_KEPT]
    more = _thinned(clouds, truth, _LAST_OBJECTS, _LAST_POINTS)
    ended = [_followed(found.rotation, *more, _LAST_STEPS) for found in _distinct(best)]
    return min(ended, key=lambda found: found.distance)


def _thinned(clouds: Tensor, truth: Tensor, objects: int, points: int) -> tuple[Tensor, Tensor]:
    """Some objects and points of each, float32 on the CPU; both sets have a root-mean-square radius of 1."""
    some = _spaced(len(clouds), objects)
    thin = (values[some][:, _spaced(values.shape[1], points)].float().cpu() for values in (clouds, truth))
    given, wanted = (values / _radius(values) for values in thin)
    return given, wanted


def _radius(clouds: Tensor) -> Tensor:
    """Root mean square of the points' distances from the origin."""
    return clouds.float().square().sum(-1).mean().sqrt().clamp_min(1e-12)


def _spaced(available: int, wanted: int) -> Tensor:
    count = min(available, wanted)
    return torch.arange(count) * available // count


def _distinct(tried: Sequence[Alignment]) -> list[Alignment]:
    """Without those that came to the same rotation as an earlier one."""
    kept: list[Alignment] = []
    for found in tried:
        if all(rotation_angle(found.rotation, other.rotation) > 0.05 for other in kept):
            kept.append(found)
    return kept


def _followed(start: Tensor, clouds: Tensor, truth: Tensor, steps: int) -> Alignment:
    """Iterated closest points from one rotation.

    Surfaces slide along each other, so that plain steps become small long before the end. Each step is prolonged while
    that helps, as in Besl and McKay's accelerated iteration.
    """
    rotation, distance = start.float(), math.inf
    for _ in range(steps):
        turned = clouds @ rotation.T
        to_truth, to_cloud = nearest(turned, truth)
        pairs = _products(clouds, _picked(truth, to_truth)) + _products(_picked(clouds, to_cloud), truth)
        step = nearest_rotation(pairs) @ rotation.T
        best = None
        for _ in range(_DOUBLINGS):
            tried = nearest_rotation(step @ rotation)
            reached = float(chamfer(clouds @ tried.T, truth).mean())
            if reached >= (distance if best is None else best[1]):
                break
            best, step = (tried, reached), step @ step
        if best is None:
            break
        moved = rotation_angle(best[0], rotation)
        rotation, distance = best
        if moved < _STILL:
            break
    return Alignment(rotation, distance)


def _picked(points: Tensor, places: Tensor) -> Tensor:
    return points.gather(1, places[..., None].expand(-1, -1, 3))


def _products(given: Tensor, wanted: Tensor) -> Tensor:
    """[3, 3] mean of wanted given^T over pairs of points."""
    return (wanted.mT @ given).mean(0) / given.shape[1]


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation R that maximises tr(R^T matrix), [3, 3] (Kabsch 1976); a mean of rotations goes to their chordal
    mean."""
    left, _, right = torch.linalg.svd(matrix.double())
    signs = torch.ones(3, dtype=torch.float64)
    signs[2] = torch.sign(torch.linalg.det(left @ right))
    found: Tensor = (left * signs) @ right
    return found.float()


def rotation_angle(first: Tensor, second: Tensor) -> float:
    """Radians between two rotations [3, 3]."""
    return float(rotation_angles(first[None], second[None])[0])


def rotation_angles(first: Tensor, second: Tensor) -> Tensor:
    """[n] radians between rotations [n, 3, 3], from |R - S| = 2 sqrt(2) sin(angle / 2): exact near 0, where the trace's
    arc cosine is not."""
    apart = (first - second).double().square().sum(dim=(-2, -1)).sqrt()
    return 2 * torch.asin((apart / (2 * math.sqrt(2))).clamp(max=1))
