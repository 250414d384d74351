"""Samplers of pairs: what each promises, against plain greedy code."""

import numpy as np
import pytest

from ssl_core.recipes.multiview_contrast.pair_sampling import draw_pairs, first_times


def some_visible(seed: int = 0, batch: int = 4, points: int = 40, views: int = 5):
    rng = np.random.default_rng(seed)
    return rng.random((batch, points, views)) < 0.4, rng.normal(size=(batch, points, 3)).astype(np.float32)


@pytest.mark.parametrize("sampler", ["random", "fps", "sps"])
@pytest.mark.parametrize("count", [1, 17, 60])
def test_pairs_are_visible_and_none_is_taken_twice(sampler, count) -> None:
    seen, xyz = some_visible()
    points, views, repeated = draw_pairs(seen, xyz, count, sampler, np.random.default_rng(0))
    assert points.shape == views.shape == (4, count)
    for row in range(4):
        assert seen[row, points[row], views[row]].all()
        assert len(set(zip(points[row], views[row], strict=True))) == count
    assert not repeated.any()


@pytest.mark.parametrize("sampler", ["random", "fps", "sps"])
def test_an_object_with_fewer_pairs_has_all_of_them_and_says_how_many_are_repeated(sampler) -> None:
    seen, xyz = some_visible()
    seen[1] = False
    seen[1, 7, 2] = seen[1, 9, [0, 4]] = True
    points, views, repeated = draw_pairs(seen, xyz, 30, sampler, np.random.default_rng(0))
    assert repeated.tolist() == [0, 27, 0, 0]
    assert set(zip(points[1], views[1], strict=True)) == {(7, 2), (9, 0), (9, 4)}
    seen[1] = False
    with pytest.raises(ValueError, match="object 1"):
        draw_pairs(seen, xyz, 30, sampler, np.random.default_rng(0))


def is_farthest_first(xyz: np.ndarray, order: list[int], candidates: np.ndarray) -> bool:
    """Whether each point of the order is as far from those before it as any candidate."""
    for place in range(1, len(order)):
        distance = np.linalg.norm(xyz[:, None] - xyz[order[:place]][None], axis=2).min(axis=1)
        if distance[order[place]] < distance[candidates].max() - 1e-5:
            return False
    return True


def test_fps_takes_all_pixels_of_a_point_before_the_next() -> None:
    seen, xyz = some_visible()
    points, _, _ = draw_pairs(seen, xyz, 31, "fps", np.random.default_rng(0))
    for row in range(4):
        order = list(dict.fromkeys(points[row].tolist()))
        assert is_farthest_first(xyz[row], order, np.flatnonzero(seen[row].any(axis=1)))
        assert points[row].tolist() == sorted(points[row].tolist(), key=order.index), "one point after the other"
        for point in order[:-1]:
            assert (points[row] == point).sum() == seen[row, point].sum()


def test_sps_takes_one_pixel_of_each_point_and_goes_round() -> None:
    seen, xyz = some_visible(points=12)
    visible = seen.any(axis=2).sum(axis=1)
    points, _, _ = draw_pairs(seen, xyz, 20, "sps", np.random.default_rng(0))
    for row in range(4):
        first = points[row, : visible[row]].tolist()
        assert sorted(first) == np.flatnonzero(seen[row].any(axis=1)).tolist()
        assert is_farthest_first(xyz[row], first, np.array(first))
        second = points[row, visible[row] :].tolist()
        several = [point for point in first if seen[row, point].sum() > 1]
        assert second[: len(several)] == several[: len(second)]


def test_random_pairs_are_drawn_evenly_and_by_the_generator_alone() -> None:
    seen, xyz = some_visible(batch=1, points=6, views=3)
    rng = np.random.default_rng(0)
    counts = np.zeros(seen.shape[1:])
    for _ in range(2000):
        points, views, _ = draw_pairs(seen, xyz, 2, "random", rng)
        np.add.at(counts, (points[0], views[0]), 1)
    expected = 2 * 2000 / seen.sum()
    assert np.abs(counts[seen[0]] - expected).max() < 5 * np.sqrt(expected)
    a, b = (draw_pairs(seen, xyz, 3, "random", np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(a[0], b[0])


def test_first_times() -> None:
    picked = np.array([[3, 1, 3, 3, 1, 0], [5, 4, 3, 2, 1, 0]])
    assert first_times(picked).tolist() == [[True, True, False, False, False, True], [True] * 6]
