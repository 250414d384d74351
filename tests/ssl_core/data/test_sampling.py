"""Laws of farthest-point orders and of random draws, and the columns that are made of sampled rows."""

from itertools import combinations

import fpsample
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.contracts import FEATURE_WIDTH, PointsContract
from ssl_core.data import sampling
from ssl_core.data.pack_arrays import COLUMNS, rows_of
from ssl_core.data.point_columns import assemble, sigmoid
from ssl_core.data.sampling import (
    farthest_point_order,
    farthest_point_orders,
    random_bits,
    seeds,
    smallest,
    uniform_below,
    uniform_keys,
    weighted_keys,
)
from tests.conftest import tiny_cloud
from tests.reference.gaussian_axes import rotations
from tests.reference.plain_sampling import plain_bits, plain_farthest, plain_features, plain_seed

KINDS = ("ball", "surface", "clusters", "copies", "grid", "plane", "line", "point", "far away")


def points(kind: str, size: int, seed: int = 0) -> np.ndarray:
    """[size, 3] float32, of very different shapes."""
    rng = np.random.default_rng(seed)
    ball = rng.normal(size=(size, 3))
    match kind:
        case "surface":
            ball /= np.linalg.norm(ball, axis=1, keepdims=True)
        case "clusters":
            ball = ball[rng.integers(0, min(size, 7), size)] + 0.01 * ball
        case "copies":
            ball = ball[rng.integers(0, size // 3 + 1, size)]
        case "grid":
            ball = np.stack(np.unravel_index(np.arange(size), (round(size ** (1 / 3)) + 1,) * 3), axis=1) / 7
        case "plane":
            ball[:, 1] = 0.25
        case "line":
            ball[:, 1:] = 0
        case "point":
            ball[:] = 1.5
        case "far away":
            ball += 1000
    return ball.astype(np.float32)


def check_order(xyz: np.ndarray, order: np.ndarray, start: int) -> None:
    """Start first, none twice, and each next point at the covering radius of those before it."""
    assert order[0] == start
    assert len(set(order.tolist())) == len(order)
    xyz = xyz.astype(np.float64)
    distance = ((xyz - xyz[start]) ** 2).sum(1)
    before = np.inf
    for point in order[1:]:
        radius = np.sqrt(distance.max())
        assert np.sqrt(distance[point]) >= radius * (1 - 1e-5) - 1e-6 * np.abs(xyz).max()
        assert radius <= before, "covering radii never grow"
        before = radius
        distance = np.minimum(distance, ((xyz - xyz[point]) ** 2).sum(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [50, 1500, 5000])
def test_each_next_point_is_the_farthest(kind, size):
    xyz = points(kind, size)
    for start in (0, size // 2, size - 1):
        check_order(xyz, farthest_point_order(xyz, 60, start), start)


@pytest.mark.parametrize("kind", ["ball", "surface", "clusters"])
@pytest.mark.parametrize("size", [50, 1500, 5000])
def test_order_is_the_plain_one(kind, size):
    xyz = points(kind, size)
    np.testing.assert_array_equal(farthest_point_order(xyz, 40, 7), plain_farthest(xyz, 40, 7))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.one_of(st.integers(1, 40), st.integers(1000, 1300)), st.integers(0, 1000))
def test_order_is_a_permutation_with_prefix_property(kind, size, seed):
    xyz = points(kind, size, seed)
    start = seed % size
    whole = farthest_point_order(xyz, size, start)
    assert sorted(whole) == list(range(size))
    assert whole[0] == start
    np.testing.assert_array_equal(farthest_point_order(xyz, size + 5, start), whole)
    for count in (1, size // 2 + 1):
        np.testing.assert_array_equal(farthest_point_order(xyz, count, start), whole[:count])


@pytest.mark.parametrize("seed", range(5))
def test_covering_radius_is_at_most_twice_the_best(seed):
    """Gonzalez 1985: no three centres at all cover with less than half the radius."""
    xyz = points("ball", 14, seed).astype(np.float64)
    distances = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1)
    order = farthest_point_order(xyz.astype(np.float32), 3, seed)
    best = min(distances[list(centres)].min(0).max() for centres in combinations(range(14), 3))
    assert distances[order].min(0).max() <= 2 * best * (1 + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1024, 4500, 50_000])
def test_the_bucketed_search_is_given_every_start(kind, size, monkeypatch):
    """Never the slow search, at any height of the tree."""
    monkeypatch.setattr(fpsample, "fps_sampling", None)
    xyz = points(kind, size)
    for start in (0, 1, size // 3, size - 1):
        assert farthest_point_order(xyz, 2, start)[0] == start


def test_another_tree_is_slow_and_not_wrong(monkeypatch):
    monkeypatch.setattr(sampling, "_place_in_tree", lambda points, start, height: 0)
    xyz = points("ball", 1100)
    for start in (3, 700):
        np.testing.assert_array_equal(farthest_point_order(xyz, 20, start), plain_farthest(xyz, 20, start))


def test_orders_have_distinct_starts_and_padding():
    xyz = points("ball", 20)
    orders = farthest_point_orders(xyz, 20, 3, np.random.default_rng(1))
    assert len({int(order[0]) for order in orders}) == 3
    padded = farthest_point_orders(xyz[:4], 6, 2, np.random.default_rng(1))
    assert padded.shape == (2, 6)
    assert (padded[:, 4:] == -1).all()


def test_random_words_are_splitmix64():
    """The published sequence of seed 1234567, and the plain statement of it."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert random_bits(np.array([1234567], dtype=np.uint64), 5)[0].tolist() == known == plain_bits(1234567, 5)
    objects = np.array([0, 1, 4999])
    for draw in (0, 1, 2**63):
        assert seeds(draw, objects).tolist() == [plain_seed(draw, int(index)) for index in objects]


def test_the_smallest_keys_in_order():
    """Ineligible columns never stand before eligible ones, and equal keys are told apart."""
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 5, (6, 40), dtype=np.uint64) << np.uint64(32)
    eligible = rng.random((6, 40)) < 0.5
    for count in (3, 39, 40, 100):
        found = smallest(keys.copy(), eligible, count)
        for row in range(6):
            expected = sorted(
                range(40), key=lambda column, row=row: (not eligible[row, column], keys[row, column], column)
            )
            assert found[row].tolist() == expected[:count]


def test_uniform_draws_are_uniform():
    """How often each of 20 columns is among 5, and is the first of them: within five standard deviations."""
    bits = random_bits(seeds(0, np.arange(8000)), 20)
    found = smallest(uniform_keys(bits), np.ones((8000, 20), dtype=bool), 5)
    for columns, share in ((found, 5 / 20), (found[:, :1], 1 / 20), (found[:, 4:], 1 / 20)):
        counts = np.bincount(columns.ravel(), minlength=20) / 8000
        assert np.abs(counts - share).max() <= 5 * np.sqrt(share * (1 - share) / 8000)


def test_draws_with_replacement_are_uniform():
    counts = np.array([1, 7, 12])
    found = uniform_below(random_bits(seeds(1, np.arange(3)), 20_000), counts)
    for row, count in zip(found, counts, strict=True):
        shares = np.bincount(row, minlength=count) / 20_000
        assert len(shares) == count
        assert np.abs(shares - 1 / count).max() <= 5 * np.sqrt(1 / count / 20_000)


def test_weighted_draws_are_successive_draws_by_weight():
    """P(i, then j) = w_i / W * w_j / (W - w_i), for all ordered pairs of four weights one of which is zero."""
    weights = np.array([0.05, 0.6, 0.0, 0.9], dtype=np.float32)
    keys = weighted_keys(random_bits(seeds(2, np.arange(20_000)), 4), np.broadcast_to(weights, (20_000, 4)))
    found = smallest(keys, np.ones((20_000, 4), dtype=bool), 4)
    assert (found[:, 3] == 2).all(), "what weighs nothing comes last"
    total = float(weights.sum())
    for i, j in ((i, j) for i in (0, 1, 3) for j in (0, 1, 3) if i != j):
        share = weights[i] / total * weights[j] / (total - weights[i])
        seen = ((found[:, 0] == i) & (found[:, 1] == j)).mean()
        assert abs(seen - share) <= 5 * np.sqrt(share * (1 - share) / 20_000)


@pytest.mark.parametrize("standardise", [True, False])
def test_columns_are_the_plain_ones(standardise):
    rows = rows_of(tiny_cloud("box", np.random.default_rng(1)))[:70]
    contract = PointsContract(features=tuple(FEATURE_WIDTH), standardise_attributes=standardise)
    np.testing.assert_allclose(assemble(rows, contract), plain_features(rows, contract), atol=2e-5)
    batch = assemble(np.stack([[rows[:30]], [rows[30:60]]]), contract)
    assert batch.shape == (2, 1, 30, contract.columns)
    np.testing.assert_array_equal(batch[1, 0], assemble(rows[30:60], contract))


@pytest.mark.parametrize("norm", [1e-25, 1e-3, 1e25])
def test_quaternions_of_any_norm(norm):
    rows = rows_of(tiny_cloud("box", np.random.default_rng(1)))[:70]
    scaled = rows.copy()
    scaled[:, COLUMNS["rotation"]] *= norm
    contract = PointsContract(features=("rotation", "normals"))
    np.testing.assert_allclose(assemble(scaled, contract), assemble(rows, contract), atol=1e-5)


def test_equal_points_and_zero_quaternions_stay_finite():
    rows = np.zeros((16, 59), dtype=np.float32)
    assert np.isfinite(assemble(rows, PointsContract(features=tuple(FEATURE_WIDTH), num_points=16))).all()


def test_alpha_threshold_of_the_reference():
    assert sigmoid(np.float32(0.3)) == pytest.approx(0.574, abs=5e-4)


def test_columns_in_order_and_unit_sphere():
    cloud = tiny_cloud("box", np.random.default_rng(0))
    contract = PointsContract(features=("opacity", "xyz", "rotation", "normals", "reference_color"), num_points=64)
    out = assemble(rows_of(cloud)[:64], contract)
    assert out.shape == (64, contract.columns) == (64, 1 + 3 + 4 + 3 + 44)
    xyz = out[:, 1:4]
    np.testing.assert_allclose(xyz.mean(0), 0, atol=1e-5)
    assert np.linalg.norm(xyz, axis=1).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(out[:, 4:8], axis=1), 1, atol=1e-5)
    assert (out[:, 4] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(out[:, 8:11], axis=1), 1, atol=1e-5)
    assert ((out[:, 0] > -1) & (out[:, 0] < 1)).all()


def test_reference_color_is_f_rest_0_to_43():
    cloud = tiny_cloud("rod", np.random.default_rng(0))
    rows = rows_of(cloud)
    channel_major = cloud.sh_rest.transpose(0, 2, 1).reshape(len(cloud), 45)
    np.testing.assert_array_equal(rows[:, COLUMNS["sh_rest"]], channel_major)
    raw = assemble(rows[:50], PointsContract(features=("reference_color",), standardise_attributes=False))
    np.testing.assert_array_equal(raw, channel_major[:50, :44])


def test_normals_are_the_shortest_axis():
    cloud = tiny_cloud("disc", np.random.default_rng(3))
    ours = assemble(rows_of(cloud), PointsContract(features=("normals",)))
    axes = rotations(cloud)
    shortest = np.take_along_axis(axes, cloud.log_scales.argmin(1)[:, None, None], axis=2)[..., 0]
    np.testing.assert_allclose(np.abs((ours * shortest).sum(1)), 1, atol=1e-4)
