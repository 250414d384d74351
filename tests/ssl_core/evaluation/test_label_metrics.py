"""Confusions of label maps: a hand example, void pixels, absent classes, and sklearn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score, precision_score, recall_score

from ssl_core.evaluation.label_metrics import VOID, Confusion, image_miou


def test_a_hand_example() -> None:
    truth = np.array([[0, 0, 1], [1, 2, VOID]], np.uint8)
    predicted = np.array([[0, 1, 1], [VOID, 0, 2]], np.uint8)
    found = Confusion.of([(truth, predicted)], 4)
    assert found.pixels == 5, "where the truth is void nothing counts"
    np.testing.assert_allclose(found.iou, [1 / 3, 1 / 3, 0, np.nan])
    np.testing.assert_allclose(found.recall, [1 / 2, 1 / 2, 0, np.nan])
    np.testing.assert_allclose(found.precision, [1 / 2, 1 / 2, np.nan, np.nan])
    assert found.accuracy == pytest.approx(2 / 5)
    assert found.void == pytest.approx(1 / 5), "predicted void is wrong and nobody's false positive"
    assert found.miou == pytest.approx(2 / 9)


def test_it_agrees_with_sklearn_on_maps_without_void() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 6, (2, 3, 20, 20), dtype=np.uint8)
    found = Confusion.of(zip(truth, predicted, strict=True), 6)
    flat = truth.ravel(), predicted.ravel()
    assert found.accuracy == pytest.approx(accuracy_score(*flat))
    np.testing.assert_allclose(found.iou, jaccard_score(*flat, average=None))
    np.testing.assert_allclose(found.precision, precision_score(*flat, average=None))
    np.testing.assert_allclose(found.recall, recall_score(*flat, average=None))


def test_one_picture_is_counted_as_shipped_and_all_views_over_one_confusion() -> None:
    """`segmentation_metric_2.py`: NaN for a class that neither map has, the mean of the others, then over images."""
    truth = [np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8)]
    predicted = [np.array([[0, 0, 2, 1]], np.uint8), np.array([[0, 0, 0, 0]], np.uint8)]
    first = image_miou(truth[0], predicted[0], 66)
    assert first == pytest.approx((2 / 3 + 1 + 0) / 3), "class 2 is in the prediction alone, and counts"
    assert image_miou(truth[1], predicted[1], 66) == 1
    whole = Confusion.of(zip(truth, predicted, strict=True), 66)
    assert whole.miou == pytest.approx((6 / 7 + 1) / 2), "over classes that the truth has"
    nothing = np.full((1, 4), VOID, np.uint8)
    assert np.isnan(image_miou(nothing, truth[0], 66))
    assert np.isnan(Confusion.of([(nothing, truth[0])], 66).miou)
