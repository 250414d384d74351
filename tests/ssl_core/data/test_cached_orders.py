"""Orders and alphas of a pack: computed once, whatever interrupts or races for them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from ssl_core.contracts import PointsContract
from ssl_core.data import cached_orders
from ssl_core.data.cached_orders import alphas_for, cache_folders, orders_for
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_columns import sigmoid
from ssl_core.data.point_sampler import PointSampler
from ssl_core.data.sampling import farthest_point_orders
from ssl_core.errors import StorageError
from tests.reference.plain_sampling import plain_order
from tests.reference.small_pack import small_pack

ALL = np.arange(4)
HIGH = 0.5


@pytest.fixture
def pack(tmp_path) -> Pack:
    return small_pack(tmp_path / "pack")


@pytest.fixture
def searched(monkeypatch) -> list[int]:
    """Sizes of the clouds whose orders are computed, as it happens."""
    sizes: list[int] = []

    def search(xyz, count, starts, rng):
        sizes.append(len(xyz))
        return farthest_point_orders(xyz, count, starts, rng)

    monkeypatch.setattr(cached_orders, "farthest_point_orders", search)
    return sizes


def kept(pack: Pack, index: int) -> int:
    return int((sigmoid(pack.rows_of(index)[:, 3]) > HIGH).sum())


def made(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/values.bin"))


@pytest.mark.parametrize(("threshold", "length"), [(HIGH, 40), (HIGH, 150), (0.05, 40), (0.05, 150)])
def test_orders_are_the_plain_ones(pack, threshold, length):
    """Above the pack's threshold, beyond its orders, both or neither."""
    orders = orders_for(pack, threshold, length, ALL)
    assert orders.shape == (4, 3, length)
    assert not orders.flags.writeable
    contract = PointsContract(num_points=length, alpha_threshold=threshold)
    for index in ALL:
        for start in range(3):
            expected = plain_order(pack, contract, index, start)
            assert orders[index, start].tolist() == expected + [-1] * (length - len(expected))
    if threshold == 0.05:
        both = min(length, pack.orders.shape[2])
        np.testing.assert_array_equal(orders[:, :, :both], pack.orders[:, :, :both], "the pack's own go on")


def test_alphas_stand_side_by_side(pack):
    alphas = alphas_for(pack, ALL)
    assert not alphas.flags.writeable
    np.testing.assert_array_equal(alphas, sigmoid(np.asarray(pack.gaussians[:, 3])))


def test_orders_are_computed_once(pack, searched):
    first = orders_for(pack, HIGH, 40, ALL[:3])
    assert searched == [kept(pack, i) for i in range(3)]
    np.testing.assert_array_equal(first[:3], orders_for(Pack.open(pack.path), HIGH, 40, ALL[:3])[:3])
    assert len(searched) == 3
    more = orders_for(pack, HIGH, 40, ALL)
    assert len(searched) == 7, "other objects, another threshold and another length are other files"
    np.testing.assert_array_equal(first[:3], more[:3], "an object's orders do not depend on the others")
    orders_for(pack, 0.6, 40, ALL)
    orders_for(pack, HIGH, 41, ALL)
    assert len(searched) == 15


def test_every_number_of_points_is_served_by_one_file(pack, searched):
    for count in (8, 30, 64):
        PointSampler(pack, PointsContract(num_points=count, alpha_threshold=HIGH), ALL).draw(ALL, 0)
    assert len(searched) == 4
    assert len(made(pack.path / "derived")) == 2, "orders and alphas"


def test_an_interrupted_computation_leaves_nothing(pack, searched, monkeypatch):
    whole = cached_orders._orders

    def dies_at_two(pack, threshold, length, index):
        if index == 2:
            raise KeyboardInterrupt
        return whole(pack, threshold, length, index)

    with monkeypatch.context() as patch:
        patch.setattr(cached_orders, "_orders", dies_at_two)
        with pytest.raises(KeyboardInterrupt):
            orders_for(pack, HIGH, 40, ALL)
    assert made(pack.path / "derived") == []
    searched.clear()
    assert (orders_for(pack, HIGH, 40, ALL)[:, :, 0] >= 0).all()
    assert searched == [kept(pack, i) for i in range(4)]


def test_another_folder_when_the_packs_cannot_be_written(pack, tmp_path, monkeypatch, searched):
    (pack.path / "derived").write_text("in the way")
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "cache" / "here"))
    orders_for(pack, HIGH, 40, ALL)
    assert len(made(tmp_path / "cache" / "here")) == 1
    orders_for(pack, HIGH, 40, ALL)
    assert len(searched) == 4
    monkeypatch.delenv("SPLATSWEEP_CACHE")
    assert cache_folders(pack)[1] == Path.home() / ".cache" / "splatsweep"


def test_no_folder_at_all_is_said_with_the_remedy(pack, tmp_path, monkeypatch):
    (pack.path / "derived").write_text("in the way")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPLATSWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"derived: .*; .*file: .*set SPLATSWEEP_CACHE to a folder"):
        orders_for(pack, HIGH, 40, ALL)


def test_whoever_comes_together_computes_once(pack, searched):
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(orders_for(pack, HIGH, 40, ALL))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(searched) == 4
    assert len(results) == 4
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_a_pack_ignores_its_derived_files(pack):
    orders_for(pack, HIGH, 40, ALL)
    assert Pack.open(pack.path).digest == pack.digest
