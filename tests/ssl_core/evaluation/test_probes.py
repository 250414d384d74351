"""Laws of the probes and of label draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from ssl_core.errors import ConfigError, DivergedError
from ssl_core.evaluation.probes import draw_labels, knn, linear_svm, one_scale_svm


def blobs(n: int, classes: int, width: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    centres = np.random.default_rng(99).normal(size=(classes, width))
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (centres[y] + spread * rng.normal(size=(n, width))).astype(np.float32), y


@pytest.mark.parametrize("probe", [linear_svm, one_scale_svm, knn])
def test_separable_classes_are_separated(probe):
    train, test = blobs(60, 4, 16, 0.1, 1), blobs(40, 4, 16, 0.1, 2)
    result = probe(*train, *test)
    assert result.accuracy == 1.0
    assert (result.predictions == test[1]).all()


@pytest.mark.parametrize("probe", [linear_svm, one_scale_svm, knn])
def test_features_without_information_give_chance(probe):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    result = probe(rng.normal(size=(400, 32)), y, rng.normal(size=(2000, 32)), np.arange(2000) % 4)
    assert abs(result.accuracy - 0.25) < 0.05


def test_svm_does_not_mind_the_scale_of_a_column():
    (x, y), (tx, ty) = blobs(60, 5, 8, 1.0, 1), blobs(80, 5, 8, 1.0, 2)
    scale = 10.0 ** np.arange(-3, 5)
    a, b = linear_svm(x, y, tx, ty), linear_svm(x * scale, y, tx * scale, ty)
    assert (a.predictions == b.predictions).mean() > 0.97


def test_knn_minds_neither_length_nor_order_and_agrees_with_sklearn():
    (x, y), (tx, ty) = blobs(90, 5, 12, 1.5, 1), blobs(70, 5, 12, 1.5, 2)
    rng = np.random.default_rng(3)
    order = rng.permutation(len(y))
    ours = knn(x, y, tx, ty, k=1)
    again = knn(x[order] * rng.uniform(0.1, 9, (len(y), 1)), y[order], tx, ty, k=1)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(x, y).predict(tx)
    assert (ours.predictions == again.predictions).all()
    assert (ours.predictions == theirs).all()


def test_knn_ties_go_to_the_more_similar_class():
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    result = knn(x, np.array([7, 3]), np.array([[1.0, 0.2]]), np.array([7]), k=2)
    assert result.predictions.tolist() == [7]


@pytest.mark.parametrize("probe", [linear_svm, one_scale_svm, knn])
def test_one_class_and_constant_features_do_not_crash(probe):
    (x, y), (tx, ty) = blobs(20, 2, 4, 0.1, 1), blobs(10, 2, 4, 0.1, 2)
    assert (probe(x, np.full_like(y, 5), tx, ty).predictions == 5).all()
    assert 0 <= probe(np.zeros_like(x), y, np.zeros_like(tx), ty).accuracy <= 1


@pytest.mark.parametrize("probe", [linear_svm, one_scale_svm, knn])
def test_non_finite_features_are_refused(probe):
    x, y = blobs(20, 2, 4, 0.1)
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(DivergedError, match="NaN"):
        probe(bad, y, x, y)
    with pytest.raises(DivergedError, match="NaN"):
        probe(x, y, bad, y)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    fraction=st.floats(0.001, 1.0),
    per_class=st.integers(1, 12),
    seed=st.integers(0, 10_000),
)
def test_draws_are_stratified_nested_and_repeatable(counts, fraction, per_class, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(1).permutation(len(labels))]
    by_fraction = draw_labels(labels, fraction=fraction, seed=seed)
    by_count = draw_labels(labels, per_class=per_class, seed=seed)
    assert np.bincount(labels[by_fraction]).tolist() == [max(1, int(fraction * n)) for n in counts]
    assert np.bincount(labels[by_count]).tolist() == [min(per_class, n) for n in counts]
    assert len(set(by_count.tolist())) == len(by_count)
    assert (draw_labels(labels, per_class=per_class, seed=seed) == by_count).all()
    assert set(by_count) <= set(draw_labels(labels, per_class=per_class + 1, seed=seed))
    assert (draw_labels(labels, seed=seed) == np.arange(len(labels))).all()


def test_draws_differ_by_seed():
    labels = np.repeat(np.arange(5), 20)
    draws = {tuple(draw_labels(labels, per_class=5, seed=seed)) for seed in range(20)}
    assert len(draws) == 20


@pytest.mark.parametrize(
    "wrong", [{"per_class": 0}, {"fraction": 0.0}, {"fraction": 1.5}, {"per_class": 2, "fraction": 0.5}]
)
def test_impossible_amounts_are_refused(wrong):
    with pytest.raises(ConfigError):
        draw_labels([0, 1, 2], **wrong)


def test_one_scale_does_not_ask_in_which_basis_features_are_written():
    """A rotation, and principal components, which cost the standardised probe nearly all it knows with few labels."""
    rng = np.random.default_rng(0)
    classes = np.arange(200) % 5
    x = rng.normal(size=(5, 64))[classes] + 0.8 * rng.normal(size=(200, 64)) * np.geomspace(1, 0.01, 64)
    x = x @ np.linalg.qr(rng.normal(size=(64, 64)))[0] + 3.0
    known, labelled = x[:120], draw_labels(classes[:120], per_class=4)

    def answers(turned: np.ndarray, probe) -> np.ndarray:
        before, after = turned[:120], turned[120:]
        more = {"reference": before} if probe is one_scale_svm else {}
        return probe(before[labelled], classes[:120][labelled], after, classes[120:], **more).predictions

    rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    principal = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)[2].T
    plain = answers(x, one_scale_svm)
    assert (plain == classes[120:]).mean() > 0.8
    for basis in (rotation, principal, -np.eye(64)):
        assert (answers(x @ basis, one_scale_svm) == plain).all()
    assert (answers(7.0 * x - 2.0, one_scale_svm) == plain).all(), "nor where the origin is, nor of the unit"
    standardised = [(answers(x @ basis, linear_svm) == classes[120:]).mean() for basis in (rotation, principal)]
    assert standardised[1] < standardised[0] - 0.1
