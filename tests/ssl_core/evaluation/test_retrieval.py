"""Retrieval against scikit-learn's average precision and against a plain twin, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ssl_core.errors import ConfigError, DivergedError, InfeasibleError
from ssl_core.evaluation import ranking
from ssl_core.evaluation.ranking import across_modalities, across_views, gallery_views, retrieve


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def test_average_precision_is_sklearns():
    rng = np.random.default_rng(0)
    x, g, xl, gl = rng.normal(size=(20, 6)), rng.normal(size=(70, 6)), np.arange(20) % 4, np.arange(70) % 4
    found = retrieve(x, g, xl, gl)
    expected = [average_precision_score(gl == label, row) for label, row in zip(xl, cosine(x, g), strict=True)]
    np.testing.assert_allclose(found.average_precision, expected)
    assert (found.queries == np.arange(20)).all()
    assert (found.neighbours == np.argsort(-cosine(x, g), axis=1)[:, :5]).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 4), st.booleans())
def test_one_query_at_a_time_finds_the_same(seed, count, classes, small_blocks):
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(count, 3)), rng.integers(0, classes, count)
    expected = []
    for query in range(count):
        others = np.delete(np.arange(count), query)
        ranked = others[np.argsort(-cosine(x[query : query + 1], x[others])[0], kind="stable")]
        hits = labels[ranked] == labels[query]
        if hits.any():
            precisions = [hits[: rank + 1].mean() for rank in range(len(hits)) if hits[rank]]
            expected.append((query, np.mean(precisions), hits[:1].any(), hits[:3].any(), ranked[:5]))
    if not expected:
        with pytest.raises(InfeasibleError, match="two of a kind"):
            retrieve(x, x, labels, labels, exclude_self=True)
        return
    with pytest.MonkeyPatch.context() as patch:
        if small_blocks:
            patch.setattr(ranking, "_BLOCK", 1)
        found = retrieve(x, x, labels, labels, exclude_self=True, ks=(1, 3))
    assert found.queries.tolist() == [row[0] for row in expected]
    np.testing.assert_allclose(found.average_precision, [row[1] for row in expected])
    assert found.recall[1].tolist() == [row[2] for row in expected]
    assert found.recall[3].tolist() == [row[3] for row in expected]
    for neighbours, row in zip(found.neighbours, expected, strict=True):
        assert neighbours[: len(row[4])].tolist() == row[4].tolist()
        assert (neighbours[len(row[4]) :] == -1).all()


def test_length_of_features_does_not_matter_and_recall_grows_with_k():
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(40, 5)), np.arange(40) % 8
    found = retrieve(x, x, labels, labels, exclude_self=True, ks=(1, 2, 5, 39))
    longer = retrieve(x * rng.uniform(0.1, 9, (40, 1)), x, labels, labels, exclude_self=True)
    np.testing.assert_allclose(longer.average_precision, found.average_precision)
    means = [found.recall[k].mean() for k in (1, 2, 5, 39)]
    assert means == sorted(means)
    assert means[-1] == 1.0


def test_random_features_find_at_random_and_perfect_ones_everything():
    rng = np.random.default_rng(2)
    labels = np.arange(300) % 3
    at_random = retrieve(rng.normal(size=(300, 64)), rng.normal(size=(300, 64)), labels, labels)
    assert abs(at_random.average_precision.mean() - 1 / 3) < 0.03
    perfect = retrieve(np.eye(3)[labels], np.eye(3)[labels], labels, labels, exclude_self=True)
    assert (perfect.average_precision == 1).all()


def test_across_views_asks_with_one_view_and_hides_it():
    rng = np.random.default_rng(3)
    objects, views = 12, 4
    identity = rng.normal(size=(objects, 1, 32))
    found = across_views(identity + 0.1 * rng.normal(size=(objects, views, 32)), np.arange(objects) % 3)
    assert (found.same_object.average_precision == 1).all()
    assert found.same_object.neighbours.max() < objects * (views - 1)
    owners = np.repeat(np.arange(objects), views - 1)
    assert (owners[found.same_object.neighbours[:, :3]] == np.arange(objects)[:, None]).all()
    assert (owners[found.same_class.neighbours] != np.arange(objects)[:, None]).all()  # its own views do not count


def test_every_other_view_is_in_the_gallery_once():
    asking, others = gallery_views(20, 5, seed=4)
    together = np.sort(np.concatenate([asking[:, None], others], axis=1), axis=1)
    assert (together == np.arange(5)).all()
    assert len(set(asking.tolist())) > 1
    assert (asking != gallery_views(20, 5, seed=5)[0]).any()


def test_classes_are_found_across_views_of_other_objects():
    rng = np.random.default_rng(5)
    labels = np.arange(15) % 3
    features = np.eye(3)[labels][:, None] * 5 + rng.normal(size=(15, 3, 3)) * 0.1
    assert (across_views(features, labels).same_class.recall[1] == 1).all()


def test_across_modalities_is_right_for_a_common_space_only():
    rng = np.random.default_rng(6)
    points = rng.normal(size=(30, 16))
    labels = np.arange(30) % 5
    found = across_modalities(points, points + 0.01 * rng.normal(size=points.shape), labels)
    for way in (found.points_to_images, found.images_to_points):
        assert (way.same_object.recall[1] == 1).all()
        assert way.same_class.average_precision.mean() < 0.6
    turned = points @ np.linalg.qr(rng.normal(size=(16, 16)))[0]
    assert across_modalities(points, turned, labels).points_to_images.same_object.recall[1].mean() < 0.4


def test_what_cannot_be_searched_is_refused():
    x, labels = np.ones((4, 3)), np.zeros(4, dtype=int)
    with pytest.raises(ConfigError, match="equal feature_dim"):
        across_modalities(x, np.ones((4, 5)), labels)
    with pytest.raises(ConfigError, match="share no space"):
        retrieve(x, np.ones((4, 5)), labels, labels)
    with pytest.raises(ConfigError, match="at least one k"):
        retrieve(x, x, labels, labels, ks=(0,))
    with pytest.raises(DivergedError, match="NaN"):
        retrieve(x * np.nan, x, labels, labels)
