"""Numbers of many label maps at once, and of depth maps beside the truth.

Segmentation: intersection over union of a class is TP / (TP + FP + FN); mIoU and mAcc are means over the classes that
the truth has, aAcc is the share of right pixels (Long, Shelhamer, Darrell, CVPR 2015, section 5). Depth: Eigen,
Puhrsch, Fergus, NeurIPS 2014, each image by itself.
"""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""[..., classes, classes]: pixels of the row's class that were given the column's"""
DEPTH_METRICS = ("rmse", "abs_rel", "delta_1", "delta_2", "delta_3", "log_10", "rmse_log", "silog", "sq_rel")


def class_ious(counts: Counts) -> NDArray[np.float64]:
    """[..., classes] of [..., classes, classes]; NaN for a class that the truth lacks."""
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
    there, told = counts.sum(-1), counts.sum(-2)
    return np.where(there > 0, right / np.maximum(there + told - right, 1), np.nan)


def mean_iou(counts: Counts) -> NDArray[np.float64]:
    """[...] over the classes that the truth has; NaN where it has none."""
    return _mean(class_ious(counts))


def mean_accuracy(counts: Counts) -> NDArray[np.float64]:
    """[...] mean over classes of the share of their pixels that were right."""
    there = counts.sum(-1)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return _mean(np.where(there > 0, right / np.maximum(there, 1), np.nan))


def pixel_accuracy(counts: Counts) -> NDArray[np.float64]:
    """[...] share of right pixels."""
    right = np.trace(counts, axis1=-2, axis2=-1)
    shares: NDArray[np.float64] = right / np.maximum(counts.sum((-2, -1)), 1)
    return shares


def depth_errors(truth: NDArray[np.float32], predicted: NDArray[np.float32]) -> dict[str, float]:
    """`DEPTH_METRICS` of one image, over pixels whose truth is above 0; empty where there is none."""
    known = truth > 0
    if not known.any():
        return {}
    t, p = truth[known].astype(np.float64), np.maximum(predicted[known].astype(np.float64), 1e-6)
    ratio, logs = np.maximum(t / p, p / t), np.log(p) - np.log(t)
    return {
        "rmse": float(np.sqrt(np.mean((p - t) ** 2))),
        "abs_rel": float(np.mean(np.abs(p - t) / t)),
        **{f"delta_{k}": float(np.mean(ratio < 1.25**k)) for k in (1, 2, 3)},
        "log_10": float(np.mean(np.abs(logs)) / np.log(10)),
        "rmse_log": float(np.sqrt(np.mean(logs**2))),
        "silog": float(100 * np.sqrt(max(0.0, np.mean(logs**2) - np.mean(logs) ** 2))),
        "sq_rel": float(np.mean((p - t) ** 2 / t)),
    }


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(-1)
    return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)
