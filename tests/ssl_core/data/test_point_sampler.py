"""What a contract gathers from a pack, against the plain statement; and the laws of its draws."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.contracts import FEATURE_WIDTH, PointsContract
from ssl_core.data import point_sampler
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_columns import assemble, sigmoid
from ssl_core.data.point_sampler import PointSampler, check_contract
from ssl_core.errors import InfeasibleError, PackError
from tests.reference.plain_sampling import plain_draw, plain_pick
from tests.reference.small_pack import small_pack

GROUPS = tuple(FEATURE_WIDTH)
SAMPLINGS = ("fps", "uniform", "uniform_with_replacement", "opacity_weighted")
ALL = np.arange(4)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    return small_pack(tmp_path_factory.mktemp("sampler") / "pack")


def picked(pack: Pack, contract: PointsContract, objects=ALL, draw: int = 0) -> np.ndarray:
    """Rows within each object, found again by the first spherical harmonics, which are all different."""
    raw = contract.model_copy(update={"features": ("sh_dc",), "standardise_attributes": False})
    values = PointSampler(pack, raw, np.asarray(objects)).draw(np.asarray(objects), draw)
    found = []
    for index, sample in zip(objects, values, strict=True):
        row = {tuple(v): i for i, v in enumerate(pack.rows_of(int(index))[:, 11:14].tolist())}
        found.append([row[tuple(v)] for v in sample.tolist()])
    return np.array(found)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    ("num_points", "threshold"), [(48, 0.05), (48, 0.5), (90, 0.05), (120, 0.05), (90, 0.3), (8, 0.9)]
)
def test_draws_are_the_plain_ones(pack, sampling, num_points, threshold):
    """Fewer and more points than cached orders have and than objects keep, at the pack's threshold and above it."""
    contract = PointsContract(features=GROUPS, sampling=sampling, num_points=num_points, alpha_threshold=threshold)
    sampler = PointSampler(pack, contract, ALL)
    for draw in (0, 3):
        expected = plain_draw(pack, contract, ALL, draw)
        assert expected.shape == (4, num_points, contract.columns)
        np.testing.assert_allclose(sampler.draw(ALL, draw), expected, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    features=st.permutations(GROUPS).flatmap(lambda order: st.integers(1, 8).map(lambda n: tuple(order[:n]))),
    standardise=st.booleans(),
    sampling=st.sampled_from(SAMPLINGS),
    objects=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    draw=st.integers(0, 2**40),
)
def test_columns_stand_in_the_contracts_order(pack, features, standardise, sampling, objects, draw):
    contract = PointsContract(
        features=features, num_points=20, alpha_threshold=0.1, sampling=sampling, standardise_attributes=standardise
    )
    batch = np.array(objects)
    out = PointSampler(pack, contract, ALL).draw(batch, draw)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, plain_draw(pack, contract, batch, draw), atol=2e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_a_draw_does_not_depend_on_the_rest_of_the_batch(pack, sampling, threshold, monkeypatch):
    contract = PointsContract(features=GROUPS, num_points=50, alpha_threshold=threshold, sampling=sampling)
    sampler = PointSampler(pack, contract, ALL)
    whole = sampler.draw(ALL, 5)
    for batch in ([2], [3, 3, 0], [1, 2, 3, 0, 1]):
        np.testing.assert_array_equal(sampler.draw(np.array(batch), 5), whole[batch])
    np.testing.assert_array_equal(PointSampler(pack, contract, ALL[1:3]).draw(ALL[1:3], 5), whole[1:3])
    monkeypatch.setattr(point_sampler, "_KEYS", 300)
    monkeypatch.setattr(point_sampler, "_ROWS", 60)
    np.testing.assert_array_equal(sampler.draw(ALL, 5), whole)


@pytest.mark.parametrize("sampling", ["fps", "uniform", "opacity_weighted"])
@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_fewer_points_are_a_prefix_and_none_is_taken_twice(pack, sampling, threshold):
    def rows(count: int) -> np.ndarray:
        return picked(pack, PointsContract(num_points=count, alpha_threshold=threshold, sampling=sampling))

    most = rows(90)
    for count in (8, 40, 64, 70):
        np.testing.assert_array_equal(rows(count), most[:, :count])
    for index in ALL:
        keeps = int((1 / (1 + np.exp(-pack.rows_of(int(index))[:, 3])) > threshold).sum())
        assert len(set(most[index])) == min(90, keeps)
        np.testing.assert_array_equal(most[index], np.resize(most[index][:keeps], 90), err_msg="repeated in order")


def test_different_draws_differ_and_consecutive_ones_take_all_starts(pack):
    fps = [picked(pack, PointsContract(num_points=32, alpha_threshold=0.05), draw=draw) for draw in range(3)]
    for index in ALL:
        assert {int(rows[index, 0]) for rows in fps} == {int(first) for first in pack.orders[index, :, 0]}
    for sampling in SAMPLINGS[1:]:
        contract = PointsContract(num_points=32, alpha_threshold=0.05, sampling=sampling)
        assert (picked(pack, contract, draw=0) != picked(pack, contract, draw=1)).mean() > 0.9


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_samples_follow_their_generator(pack, sampling):
    sampler = PointSampler(pack, PointsContract(num_points=40, alpha_threshold=0.2, sampling=sampling), ALL)
    batch = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    first = sampler.sample(batch, np.random.default_rng(0))
    np.testing.assert_array_equal(first, sampler.sample(batch, np.random.default_rng(0)))
    assert not np.array_equal(first, sampler.sample(batch, np.random.default_rng(1)))
    assert len(np.unique(first[:4], axis=0)) > 1, "the same object twice in a batch gets two draws"


def test_writes_into_what_it_is_given(pack):
    contract = PointsContract(features=GROUPS, num_points=40, alpha_threshold=0.2)
    sampler = PointSampler(pack, contract, ALL)
    wide = np.full((4, 40, contract.columns + 3), np.nan, dtype=np.float32)
    view = wide[..., 1:-2]
    assert sampler.draw(ALL, 1, out=view) is view
    np.testing.assert_array_equal(view, sampler.draw(ALL, 1))
    assert np.isnan(wide[..., [0, -1, -2]]).all()


def test_opacity_weights_are_proportional(pack):
    """First points are drawn in proportion to alpha: within five standard deviations for groups of Gaussians."""
    contract = PointsContract(
        features=("opacity",),
        num_points=8,
        alpha_threshold=0.3,
        sampling="opacity_weighted",
        standardise_attributes=False,
    )
    batch = np.ones(5000, dtype=np.int64)
    drawn = sigmoid(PointSampler(pack, contract, batch[:1]).sample(batch, np.random.default_rng(0))[:, 0, 0])
    alphas = sigmoid(pack.rows_of(1)[:, 3])
    weights = np.where(alphas > 0.3, alphas, 0)
    for low, high in ((0.0, 0.3), (0.3, 0.5), (0.5, 0.75), (0.75, 1.0)):
        share = weights[(alphas > low) & (alphas <= high)].sum() / weights.sum()
        found = ((drawn > low) & (drawn <= high)).mean()
        assert abs(found - share) <= 5 * np.sqrt(share * (1 - share) / len(drawn))


def test_random_batches_are_drawn_in_bounded_memory(tmp_path, monkeypatch):
    big = small_pack(tmp_path / "pack", (4000,) * 12, cached=8, starts=1)
    monkeypatch.setattr(point_sampler, "_KEYS", 4000)
    for sampling in ("uniform", "opacity_weighted"):
        contract = PointsContract(num_points=8, alpha_threshold=0.3, sampling=sampling)
        sampler = PointSampler(big, contract, np.arange(12))
        sampler.draw(np.arange(12), 0)
        tracemalloc.start()
        sampler.draw(np.tile(np.arange(12), 6), 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 * 8 * 4000, "a dozen words per key of one object, not of 72"


def test_the_packers_pack_is_served_alike(tiny_pack):
    """The same from a pack as the writer makes them, beside the cloud's own columns."""
    objects = tiny_pack.objects("fit")
    contract = PointsContract(features=GROUPS, num_points=100, alpha_threshold=0.6, sampling="uniform")
    out = PointSampler(tiny_pack, contract, objects).draw(objects, 2)
    np.testing.assert_allclose(out, plain_draw(tiny_pack, contract, objects, 2), atol=2e-5)


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (PointsContract(num_points=100000, alpha_threshold=0.05), "num_points 100000"),
        (PointsContract(num_points=199, alpha_threshold=0.5), "num_points 199 is more than any object keeps"),
        (PointsContract(alpha_threshold=0.01), "below the pack's"),
        (PointsContract(alpha_threshold=0.9999, num_points=8), "object_0 keeps no Gaussian .* 3 more objects"),
    ],
)
@pytest.mark.parametrize("sampling", ["fps", "opacity_weighted"])
def test_what_the_pack_cannot_serve(pack, contract, message, sampling):
    with pytest.raises(InfeasibleError, match=message):
        PointSampler(pack, contract.model_copy(update={"sampling": sampling}), ALL)


@pytest.mark.parametrize("group", ["sh_rest", "reference_color"])
def test_a_missing_group_is_refused_with_its_cause(tmp_path, group):
    flat = small_pack(tmp_path / "pack", with_rest=False, notes={".splat stores no SH above degree 0": 4})
    contract = PointsContract(features=("xyz", group), num_points=16, alpha_threshold=0.05)
    cause = r"4 of 4 objects have colours of SH degree 0 \(chair/train/object_0\); noted: \.splat stores no SH .* \(4\)"
    with pytest.raises(InfeasibleError, match=f"'{group}' is not in this pack because {cause}.*choose other features"):
        check_contract(flat, contract)
    served = PointsContract(features=("sh_dc", "xyz"), num_points=16, alpha_threshold=0.05)
    assert PointSampler(flat, served, ALL).draw(ALL, 0).shape == (4, 16, 6)


def test_objects_it_was_not_made_for_are_refused(pack):
    sampler = PointSampler(pack, PointsContract(num_points=16, alpha_threshold=0.3), ALL[:2])
    with pytest.raises(ValueError, match="not given to this sampler"):
        sampler.draw(ALL, 0)


def test_orders_that_point_elsewhere_are_refused(tmp_path):
    broken = small_pack(tmp_path / "pack")
    orders = np.load(broken.path / "orders.npy")
    orders[1, :, 5] = 10_000
    np.save(broken.path / "orders.npy", orders)
    sampler = PointSampler(Pack.open(broken.path), PointsContract(num_points=16, alpha_threshold=0.05), ALL)
    with pytest.raises(PackError, match=r"orders\.npy names Gaussians that are not there"):
        sampler.draw(ALL, 0)


def test_a_sample_is_of_stored_rows(tiny_pack):
    """Rows of the map, of `rows_of` and of the twin's pick are one."""
    index = int(tiny_pack.objects("test")[0])
    contract = PointsContract(
        features=("opacity", "scale", "rotation", "sh_dc", "sh_rest"),
        num_points=32,
        alpha_threshold=0.05,
        standardise_attributes=False,
    )
    out = PointSampler(tiny_pack, contract, np.array([index])).draw(np.array([index]), 1)[0]
    np.testing.assert_array_equal(out, tiny_pack.rows_of(index)[plain_pick(tiny_pack, contract, index, 1)][:, 3:])


def test_the_covariance_knows_no_sign_of_the_quaternion_and_no_order_of_the_axes():
    contract = PointsContract(features=("covariance",), num_points=30)
    rows = np.random.default_rng(0).normal(size=(2, 30, 59)).astype(np.float32)
    turned = rows.copy()
    turned[0, :, 7:11] *= -1
    # the same ellipsoid with its axes named z, x, y: a turn by 120 degrees about their diagonal goes before
    w, x, y, z = np.moveaxis(rows[1, :, 7:11], -1, 0)
    turned[1, :, 7:11] = np.stack([w - x - y - z, w + x + y - z, w - x + y + z, w + x - y + z], axis=-1) / 2
    turned[1, :, 4:7] = rows[1, :, [5, 6, 4]].T
    found = assemble(rows, contract)
    np.testing.assert_allclose(assemble(turned, contract), found, atol=1e-5)
    larger = rows.copy()
    larger[..., :3] *= 3
    larger[..., 4:7] += np.log(np.float32(3))
    np.testing.assert_allclose(assemble(larger, contract), found, atol=1e-5)
    assert found.std() < 1
