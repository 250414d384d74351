"""Part labels by way of a reconstruction: what is known of the training objects' parts, carried to unseen ones.

The training cloud that is nearest to a reconstruction (CD-L2 in the cube) lends its labels to the true cloud, point by
nearest point. Where one image suffices to find a training object of the same parts, most points are right.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.object_pack import VOID
from ssl_core.evaluation.cloud_metrics import unit_cube
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.statistics import bootstrap_mean
from ssl_core.evaluation.tasks.reconstruction_report import PartTransfer
from ssl_core.losses.chamfer import chamfer, nearest

_COMPARED = 128
_MOST = 256
"""training objects, evenly spaced"""


def transferred_parts(
    fit: SingleViews, test: SingleViews, cubes: Tensor, points: int, confidence: float
) -> PartTransfer | None:
    """`cubes` [n, N, 3] are the test objects' reconstructions; None where the pack has no part labels."""
    labels = fit.pack.part_labels
    if labels is None:
        return None
    count = min(len(fit), _MOST)
    kept = np.arange(count) * len(fit) // count
    known, truth = unit_cube(fit.clouds(points))[kept], unit_cube(test.clouds(points))
    lent = np.stack([_labels(fit, labels, index, points) for index in kept.tolist()])
    apart = torch.stack([chamfer(_thin(known), each.expand(count, -1, -1)).cpu() for each in _thin(known)])
    medoid = int(apart.mean(1).argmin())
    right: list[list[float]] = []
    for index in range(len(test)):
        own, cloud = _labels(test, labels, index, points), truth[index]
        chosen = (_nearest(cubes[index], known), _nearest(cloud, known), medoid)
        right.append([_share(known[i], lent[i], cloud, own) for i in chosen])
    shares = np.array(right)
    intervals = [bootstrap_mean(column, confidence=confidence) for column in shares.T]
    return PartTransfer(objects=len(test), reconstructed=intervals[0], true=intervals[1], medoid=intervals[2])


def _labels(some: SingleViews, labels: NDArray[np.int16], index: int, points: int) -> NDArray[np.int16]:
    first = int(some.pack.first_row[some.objects[index]])
    return np.array(labels[first : first + points])


def _thin(clouds: Tensor) -> Tensor:
    count = min(clouds.shape[-2], _COMPARED)
    return clouds[..., torch.arange(count) * clouds.shape[-2] // count, :]


def _nearest(cloud: Tensor, known: Tensor) -> int:
    return int(chamfer(_thin(cloud).expand(len(known), -1, -1), _thin(known)).argmin())


def _share(lender: Tensor, lent: NDArray[np.int16], cloud: Tensor, own: NDArray[np.int16]) -> float:
    """Of the points that have a label, those whose nearest point lends the right one."""
    places = nearest(cloud[None], lender[None])[0][0].numpy()
    counted = own != VOID
    return float((lent[places] == own)[counted].mean()) if counted.any() else 1.0
