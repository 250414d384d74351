"""Laws of farthest-point sampling and of what a contract gathers from a pack."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.data.features import COLUMNS, assemble, rows_of, sigmoid
from ssl_core.data.point_sampler import PointSampler
from ssl_core.data.sampling import farthest_point_order, farthest_point_orders, uniform_sample
from ssl_core.errors import InfeasibleError
from ssl_core.models.encoder import PointsContract
from tests.conftest import tiny_cloud


def plain_farthest(xyz, count, start):
    """The definition: always the point farthest from all chosen ones."""
    chosen = [start]
    distance = np.full(len(xyz), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((xyz - xyz[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


@pytest.mark.parametrize("size", [50, 1500])
def test_order_is_the_plain_one(size):
    xyz = np.random.default_rng(size).normal(size=(size, 3)).astype(np.float32)
    np.testing.assert_array_equal(farthest_point_order(xyz, 40, 7), plain_farthest(xyz, 40, 7))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 300), st.integers(0, 1000))
def test_order_is_a_permutation_with_prefix_property(size, seed):
    xyz = np.random.default_rng(seed).normal(size=(size, 3)).astype(np.float32)
    start = seed % size
    whole = farthest_point_order(xyz, size, start)
    assert sorted(whole) == list(range(size))
    assert whole[0] == start
    np.testing.assert_array_equal(farthest_point_order(xyz, size // 2 + 1, start), whole[: size // 2 + 1])


def test_orders_have_distinct_starts_and_padding():
    xyz = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    orders = farthest_point_orders(xyz, 20, 3, np.random.default_rng(1))
    assert len({int(order[0]) for order in orders}) == 3
    padded = farthest_point_orders(xyz[:4], 6, 2, np.random.default_rng(1))
    assert padded.shape == (2, 6)
    assert (padded[:, 4:] == -1).all()


def test_uniform_sampling_with_and_without_replacement():
    eligible = np.arange(100, 150)
    rng = np.random.default_rng(0)
    without = uniform_sample(eligible, 50, rng, replacement=False)
    assert sorted(without) == list(eligible)
    assert len(set(uniform_sample(eligible, 50, rng, replacement=True))) < 50


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
    axes = cloud.rotations()
    shortest = np.take_along_axis(axes, cloud.log_scales.argmin(1)[:, None, None], axis=2)[..., 0]
    np.testing.assert_allclose(np.abs((ours * shortest).sum(1)), 1, atol=1e-4)


def test_sample_prefix_and_draws(tiny_pack):
    objects = tiny_pack.objects("fit")
    small = PointSampler(tiny_pack, PointsContract(num_points=16, alpha_threshold=0.05), objects)
    large = PointSampler(tiny_pack, PointsContract(num_points=64, alpha_threshold=0.05), objects)
    np.testing.assert_array_equal(small.draw(objects, 1), small.draw(objects, 1))
    assert small._orders[int(objects[0])][0].tolist() == large._orders[int(objects[0])][0, :16].tolist()
    assert small.draw(objects[:5], 0).shape == (5, 16, 3)


def test_higher_threshold_keeps_only_opaque(tiny_pack):
    contract = PointsContract(features=("xyz", "opacity"), num_points=64, alpha_threshold=0.8)
    sampler = PointSampler(tiny_pack, contract, tiny_pack.objects("fit"))
    out = sampler.draw(tiny_pack.objects("fit"), 0)
    assert ((out[..., 3] + 1) / 2 > 0.8 - 1e-6).all()


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (PointsContract(num_points=100000), "num_points 100000"),
        (PointsContract(alpha_threshold=0.01), "below the pack's"),
        (PointsContract(alpha_threshold=0.9999, num_points=8), "keeps no Gaussian"),
    ],
)
def test_what_the_pack_cannot_serve(tiny_pack, contract, message):
    with pytest.raises(InfeasibleError, match=message):
        PointSampler(tiny_pack, contract, tiny_pack.objects("fit"))
