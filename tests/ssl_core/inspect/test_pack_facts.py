"""What `inspect` says about a pack: equal to counting object by object, whatever the blocks."""

import json

import numpy as np
import pytest
from pack_folders import write_pack_folder
from scipy.special import expit

from ssl_core.inspect import pack_facts
from ssl_core.inspect.pack_facts import (
    ALPHA_EDGES,
    box_plot,
    count_survivors,
    describe_pack,
    distribution,
    format_pack,
    sh_energy,
)

SIZES = {"chair": [300, 7, 1200, 2100], "lamp": [1, 600, 40], "sofa": [260]}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack_folder(tmp_path_factory.mktemp("packs") / "p", SIZES, refused=(("bad.ply", "truncated"),))


def counted_plainly(pack, alpha):
    """The slow twin: one object at a time."""
    rows = [pack.rows_of(i) for i in range(len(pack.manifest.objects))]
    return [int((expit(part[:, 3]) > alpha).sum()) for part in rows]


@pytest.mark.parametrize("block", [1, 900, 10**6])
def test_survivors_are_those_of_each_object(pack, monkeypatch, block):
    monkeypatch.setattr(pack_facts, "BLOCK_ROWS", block)
    found = count_survivors(pack)
    assert found.thresholds == (0.05, 0.3, 0.5, 0.574, 0.8, 0.9)
    for i, alpha in enumerate(found.thresholds):
        assert found.kept[i].tolist() == counted_plainly(pack, alpha)
    assert found.kept[0].tolist() == pack.num_rows.tolist()
    assert found.alpha.sum() == pack.num_rows.sum()
    assert found.log_scale.sum() == 3 * pack.num_rows.sum()


def test_a_pack_with_a_high_threshold_of_its_own(tmp_path):
    pack = write_pack_folder(tmp_path / "p", {"a": [50]}, alpha_threshold=0.5, rest=False)
    assert count_survivors(pack).thresholds == (0.5, 0.574, 0.8, 0.9)
    assert list(sh_energy(pack)) == ["0"]


def test_box_plot_numbers():
    box = box_plot(np.array([1, 2, 3, 4, 5, 6, 7, 8, 100]))
    assert (box["min"], box["q1"], box["median"], box["q3"], box["max"]) == (1, 3, 5, 7, 100)
    assert box["whiskers"] == [1, 8]
    assert box["outliers"] == 1
    assert box["mean"] == pytest.approx(136 / 9)
    one = box_plot(np.array([5]))
    assert (one["min"], one["median"], one["max"], one["whiskers"], one["outliers"]) == (5, 5, 5, [5, 5], 0)


def test_distributions_have_the_quantiles_of_the_values():
    values = np.random.default_rng(0).beta(2, 5, 100_000)
    found = distribution(np.histogram(values, ALPHA_EDGES)[0], ALPHA_EDGES)
    for q, value in found["quantiles"].items():
        assert value == pytest.approx(np.quantile(values, float(q)), abs=0.0015)
    assert sum(found["counts"]) == 100_000
    assert len(found["edges"]) == len(found["counts"]) + 1 <= 52
    np.testing.assert_array_equal(np.histogram(values, found["edges"])[0], found["counts"])


def test_colour_energy_per_degree(pack, monkeypatch):
    energy = sh_energy(pack)
    rest = np.asarray(pack.sh_rest).reshape(-1, 3, 15)
    assert energy["0"] == pytest.approx(np.square(pack.gaussians[:, 11:14]).sum(axis=1).mean())
    for degree, part in (("1", slice(0, 3)), ("2", slice(3, 8)), ("3", slice(8, 15))):
        assert energy[degree] == pytest.approx(np.square(rest[:, :, part]).sum(axis=(1, 2)).mean(), rel=1e-5)
    monkeypatch.setattr(pack_facts, "SAMPLED_ROWS", 100)
    monkeypatch.setattr(pack_facts, "SAMPLED_BLOCKS", 20)
    assert sh_energy(pack)["3"] == pytest.approx(energy["3"], rel=0.1)


def test_facts_and_text(pack):
    facts = describe_pack(pack)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["classes"]["chair"] == {"train": 3, "validation": 1, "test": 1, "median_gaussians_kept": 750}
    assert facts["gaussians"]["in_files"] == sum(sum(counts) + 10 * len(counts) for counts in SIZES.values())
    first = facts["survivors"][0]
    assert first["below"] == {"256": 3, "512": 5, "1024": 6, "2048": 7}
    assert first["fewest"][0] == {"object": "lamp/train/lamp_0", "kept": 1}
    assert first["classes"]["sofa"]["median"] == 260
    assert first["all"]["objects"] == 8
    last = facts["survivors"][-1]
    assert last["kept"] == sum(counted_plainly(pack, 0.9))
    assert facts["codec"] == "raw"
    assert facts["bytes"] == sum((pack.path / name).stat().st_size for name in facts["files"])
    text = format_pack(facts)
    for expected in (
        "8 objects",
        "stored raw",
        ">0.574",
        "< 2048",
        "refused bad.ply: truncated",
        "8 bits per component",
    ):
        assert expected in text
    assert all(len(line) < 240 for line in text.splitlines())
