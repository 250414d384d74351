"""The linear probe reaches the one optimum of its objective, whatever it starts from."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl_core.errors import DivergedError
from ssl_core.evaluation.probes import linear_probe


def blobs(n: int, classes: int, width: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(size=(classes, width))
    y = np.arange(n) % classes
    return (centres[y] + spread * np.random.default_rng(seed).normal(size=(n, width))).astype(np.float32), y


@pytest.mark.parametrize("weight_decay", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize(("n", "classes", "width"), [(300, 4, 12), (50, 10, 128), (40, 2, 6)])
def test_it_predicts_as_sklearns_optimum_does(n, classes, width, weight_decay):
    (x, y), (tx, ty) = blobs(n, classes, width, 1.5, 1), blobs(400, classes, width, 1.5, 2)
    scaler = StandardScaler().fit(x.astype(np.float64))
    # of two classes scikit-learn has one row of weights, the difference of ours: half the penalty
    C = (2 if classes == 2 else 1) / (weight_decay * n)
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=5000).fit(scaler.transform(x), y)
    result = linear_probe(x, y, tx, ty, weight_decay=weight_decay)
    expected = reference.predict(scaler.transform(tx))
    assert (result.predictions == expected).mean() >= 0.995
    assert result.accuracy == (result.predictions == ty).mean()


def test_the_seed_leaves_nothing_behind():
    (x, y), (tx, ty) = blobs(80, 5, 32, 2.0, 1), blobs(500, 5, 32, 2.0, 2)
    first, other = (linear_probe(x, y, tx, ty, seed=seed).predictions for seed in (0, 1))
    assert (first == other).mean() > 0.995
    assert (first == linear_probe(x, y, tx, ty, seed=0).predictions).all()


def test_scale_and_place_of_a_column_do_not_matter():
    (x, y), (tx, ty) = blobs(60, 3, 8, 1.0, 1), blobs(200, 3, 8, 1.0, 2)
    scale, place = np.logspace(-2, 2, 8), np.arange(8)
    moved = linear_probe(x * scale + place, y, tx * scale + place, ty).predictions
    assert (moved == linear_probe(x, y, tx, ty).predictions).mean() > 0.99


def test_labels_may_be_any_integers_and_classes_may_be_missing():
    (x, y), (tx, ty) = blobs(60, 3, 8, 0.1, 1), blobs(30, 3, 8, 0.1, 2)
    assert linear_probe(x, 10 * y + 7, tx, 10 * ty + 7).accuracy == 1.0
    one = linear_probe(x[y == 1], y[y == 1], tx, ty)
    assert (one.predictions == 1).all()


def test_features_without_information_give_chance():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    result = linear_probe(rng.normal(size=(400, 32)), y, rng.normal(size=(2000, 32)), np.arange(2000) % 4)
    assert abs(result.accuracy - 0.25) < 0.05


def test_a_constant_encoder_gives_the_commonest_class():
    y = np.array([0, 1, 1, 2])
    result = linear_probe(np.ones((4, 6)), y, np.ones((3, 6)), np.array([1, 1, 0]))
    assert (result.predictions == 1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(bad):
    x = np.ones((4, 3))
    x[1, 1] = bad
    with pytest.raises(DivergedError, match="NaN or infinity"):
        linear_probe(x, np.arange(4), np.ones((2, 3)), np.arange(2))
