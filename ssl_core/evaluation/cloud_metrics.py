"""How far one cloud of points is from another.

Both are brought into a cube of side 1 first, each by the longest side of its own box, as the reference's evaluation
does. Distances between sets of points depend on how many there are: two samples of one surface are apart too
(`sampling_floor`), so numbers compare only at equal N.
"""

import math

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ssl_core.config import Config
from ssl_core.losses.chamfer import nearest_squared

F_THRESHOLDS = (0.01, 0.02)
"""of the box's side, for the F-score"""
EMD_POINTS = 512


class CloudDistances(Config):
    """Of one object, in units of its box's longest side.

    cd_l2: mean squared distance to the nearest point, both ways summed. cd_l1: the same of distances. f_1, f_2:
    harmonic mean of the shares of points that are nearer than 1 % and 2 % of the side (Knapitsch et al. 2017).
    """

    cd_l2: float
    cd_l1: float
    f_1: float
    f_2: float


def unit_cube(clouds: Tensor, reach: float = math.inf) -> Tensor:
    """Clouds [n, N, 3], each centred on its box and divided by the box's longest side.

    The box is that of the points clipped to ±`reach`, the points are not clipped: single strays do not shrink a
    reconstruction. What lies in one place stays there.
    """
    inside = clouds.clamp(-reach, reach)
    low, high = inside.amin(1, keepdim=True), inside.amax(1, keepdim=True)
    return (clouds - (low + high) / 2) / (high - low).amax(2, keepdim=True).clamp_min(1e-9)


def cloud_distances(clouds: Tensor, truth: Tensor) -> list[CloudDistances]:
    """Of each of `clouds` [n, N, 3] from `truth` [n, M, 3], both as `unit_cube` gives them."""
    found = []
    for given, wanted in zip(clouds.split(8), truth.split(8), strict=True):
        there, back = (squared.double() for squared in nearest_squared(given, wanted))
        l2, l1 = there.mean(1) + back.mean(1), there.sqrt().mean(1) + back.sqrt().mean(1)
        scores = [f_score(there, back, threshold) for threshold in F_THRESHOLDS]
        rows = torch.stack([l2, l1, *scores], dim=1).tolist()
        found += [CloudDistances(cd_l2=a, cd_l1=b, f_1=c, f_2=d) for a, b, c, d in rows]
    return found


def f_score(there: Tensor, back: Tensor, threshold: float) -> Tensor:
    """[n] harmonic mean of precision and recall, from squared distances [n, N] and [n, M]; 0 where both are 0."""
    precision, recall = ((squared < threshold**2).double().mean(1) for squared in (there, back))
    return 2 * precision * recall / (precision + recall).clamp_min(1e-12)


def earth_mover(cloud: Tensor, truth: Tensor) -> float:
    """Mean distance of points that are matched one to one so that it is least, of two clouds [N, 3].

    Rubner, Tomasi, Guibas 2000; exact by `scipy.optimize.linear_sum_assignment`, of at most 512 points each, evenly
    spaced in their order.
    """
    count = min(len(cloud), len(truth), EMD_POINTS)
    given, wanted = (values[torch.arange(count) * len(values) // count].double() for values in (cloud, truth))
    apart = torch.cdist(given, wanted).numpy()
    rows, columns = linear_sum_assignment(apart)
    return float(np.mean(apart[rows, columns]))


def sampling_floor(area: float, points: int) -> float:
    """CD-L2 to expect of two independent uniform samples of one smooth surface: 2 A / (pi N).

    The squared distance from a place to the nearest of N points on an area A has mean A / (pi N).
    """
    return 2 * area / (math.pi * points)
