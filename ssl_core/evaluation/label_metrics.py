"""How well label maps agree: one confusion over all views, and what single pictures score.

Of a map with void pixels (255): where the truth is void a pixel does not count; where the prediction is void and the
truth is not, it is wrong, and no class's false positive.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
VOID = 255


@dataclass(frozen=True)
class Confusion:
    """Pixels [C, C + 1] of true class by predicted class; the last column is predicted void."""

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Labels, Labels]], classes: int) -> "Confusion":
        """Of (truth, prediction) maps of equal shapes. A predicted id beyond the classes counts as void."""
        counts = np.zeros((classes, classes + 1), dtype=np.int64)
        for truth, predicted in pairs:
            known = truth < classes
            column = np.minimum(predicted[known].astype(np.int64), classes)
            places = truth[known].astype(np.int64) * (classes + 1) + column
            counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)
        return cls(counts)

    @property
    def pixels(self) -> int:
        """That count."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of pixels that are right; NaN without pixels."""
        return _share(np.trace(self.counts), self.counts.sum())

    @property
    def iou(self) -> NDArray[np.float64]:
        """[C] TP / (TP + FP + FN); NaN for a class that neither has."""
        right = np.diagonal(self.counts)
        return _shares(right, self.counts.sum(1) + self.counts[:, :-1].sum(0) - right)

    @property
    def recall(self) -> NDArray[np.float64]:
        """[C] TP / (TP + FN); NaN for a class that the truth does not have."""
        return _shares(np.diagonal(self.counts), self.counts.sum(1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """[C] TP / (TP + FP); NaN for a class that is never predicted."""
        return _shares(np.diagonal(self.counts), self.counts[:, :-1].sum(0))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that the truth has; NaN without any."""
        present = self.counts.sum(1) > 0
        return float(self.iou[present].mean()) if present.any() else float("nan")

    @property
    def void(self) -> float:
        """Share of pixels that were predicted void."""
        return _share(self.counts[:, -1].sum(), self.counts.sum())


def image_miou(truth: Labels, predicted: Labels, classes: int) -> float:
    """Of one picture as Label-3DGS ships it (`segmentation_metric_2.py`): the mean over classes that either map has.

    NaN where no pixel has a label.
    """
    iou = Confusion.of([(truth, predicted)], classes).iou
    present = np.isfinite(iou)
    return float(iou[present].mean()) if present.any() else float("nan")


def _share(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else float("nan")


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.full(len(part), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found
