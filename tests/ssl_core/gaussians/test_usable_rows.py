"""Values that no Gaussian may have: the same bounds in every format, single rows dropped when that is asked for."""

import struct
import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.contracts import PointsContract
from ssl_core.data.sampling import farthest_point_orders
from ssl_core.encode.model_inputs import points_input
from ssl_core.errors import GaussianFileError, PlyError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud, GaussianFile
from ssl_core.gaussians.gaussian_file import read_gaussians
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.gaussians.usable_rows import DROPPED, LOG_SCALES, MAX_VALUE, usable
from ssl_core.inspect.gaussian_facts import format_inspection, inspect_gaussians
from ssl_core.render.views import rendered_views
from tests.reference.plain_sog import sog_parts, write_sog
from tests.reference.plain_spz import encode_spz
from tests.reference.usable_rows import bad_rows
from tests.ssl_core.gaussians.test_compressed_ply import packed_file, random_parts

END = float(np.log(1 - 1 / 510) - np.log(1 / 510))


def refusal(path, **how) -> str:
    with pytest.raises(GaussianFileError) as caught:
        read_gaussians(path, **how)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def plain(count: int) -> list[dict[str, object]]:
    rng = np.random.default_rng(count)
    return [
        {"xyz": rng.normal(size=3).tolist(), "alpha": 0.5, "dc": [0.1, 0.2, 0.3],
         "log_scales": rng.uniform(-6, -2, 3).tolist(), "wxyz": [1.0, 0.1, 0.2, 0.3], "sh": []}
        for _ in range(count)
    ]  # fmt: skip


def test_opacities_of_exactly_0_and_1_are_brought_inside(make_cloud, columns_of, write_ply, tmp_path):
    """As converters write them that expand 8-bit files: infinite logits."""
    columns = columns_of(make_cloud(6))
    columns["opacity"][:] = [np.inf, -np.inf, 3, -np.inf, 9e30, 0]
    for form in ("little", "ascii"):
        found = read_gaussians(write_ply(tmp_path / f"{form}.ply", columns, form))
        np.testing.assert_allclose(found.cloud.opacity_logits, [END, -END, 3, -END, END, 0], rtol=1e-6)
        assert found.notes == ("opacities of 4 Gaussians are stored as 0 or 1; they are read as 1/510 within",)
    columns["opacity"][2] = np.nan
    path = write_ply(tmp_path / "nan.ply", columns)
    assert "1 of 6 Gaussians" in refusal(path)
    assert "'opacity' (1 NaN); first: Gaussian 2, whose 'opacity' is nan" in refusal(path)
    assert len(read_gaussians(path, drop_bad_rows=True).cloud) == 5


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("x", 1e20, "'x' (1 beyond); first: Gaussian 4, whose 'x' is 1e+20, expected -1e+09 to 1e+09"),
        ("z", -1.01e9, "'z' (1 beyond); first: Gaussian 4, whose 'z' is -1.01e+09"),
        ("scale_1", 100, "'scale_1' (1 beyond); first: Gaussian 4, whose 'scale_1' is 100, expected -40 to 20"),
        ("scale_0", -41, "whose 'scale_0' is -41, expected -40 to 20"),
        ("scale_2", -np.inf, "'scale_2' (1 infinite); first: Gaussian 4, whose 'scale_2' is -inf"),
        ("f_dc_1", 1e30, "'f_dc_1' (1 beyond)"),
        ("f_rest_26", np.nan, "'f_rest_26' (1 NaN)"),
        ("rot_3", np.inf, "'rot_3' (1 infinite)"),
    ],
)
def test_a_row_of_a_ply(make_cloud, columns_of, write_ply, same, tmp_path, column, value, says):
    cloud = make_cloud(7)
    columns = columns_of(cloud)
    columns[column][4] = value
    path = write_ply(tmp_path / "a.ply", columns)
    text = refusal(path)
    assert text.startswith(f"{path}: 1 of 7 Gaussians have values that cannot be used: ")
    assert says in text
    assert "leave such rows out with --drop-bad-rows" in text
    found = read_gaussians(path, drop_bad_rows=True)
    assert same(found.cloud, cloud.select([0, 1, 2, 3, 5, 6]))
    assert found.dropped.tolist() == [4]
    assert found.notes == (DROPPED,)
    facts = inspect_gaussians(path, drop_bad_rows=True)
    assert (facts["gaussians"], facts["dropped_rows"]) == (6, 1)
    assert "6, all values finite; 1 dropped" in format_inspection(facts)


def splat(count: int) -> bytes:
    return b"".join(struct.pack("<6f8B", i, 2, 3, 0.1, 0.2, 0.3, 9, 9, 9, 9, 200, 128, 128, 128) for i in range(count))


def cut_in(content: bytes, at: int, value: float) -> bytes:
    return content[:at] + struct.pack("<f", value) + content[at + 4 :]


def compressed(column: int, value: float) -> bytes:
    """300 Gaussians of which those of the second chunk have a bound of `value`."""
    words, bounds = random_parts(np.random.default_rng(1), 300)
    bounds[1, column] = value
    words[256:, :3] = 0xFFFFFFFF  # at the upper end of the bounds
    words[299, 2] = 0  # but for one, whose scales are at the lower
    return packed_file(words, bounds)


def sog_with_far_means() -> bytes:
    meta, images = sog_parts(plain(9))
    meta["means"]["maxs"][1] = 500.0  # logarithms: the farthest along y stands at exp(500)
    return write_sog(meta, images)


OTHERS = {
    ".splat centre": ("a.splat", cut_in(splat(5), 32 * 3, 1e20), [3], "'x' is 1e+20"),
    ".splat scale of zero": ("a.splat", cut_in(splat(5), 32 * 2 + 16, 0.0), [2], "'scale_1' is -inf"),
    ".splat scale below zero": ("a.splat", cut_in(splat(5), 32 * 2 + 12, -1.0), [2], "'scale_0' is nan"),
    ".splat scale": ("a.splat", cut_in(splat(5), 32 * 4 + 20, 1e12), [4], "'scale_2' is 27.6"),
    ".splat rotation": ("a.splat", splat(4) + splat(1)[:-4] + b"\x80" * 4, [4], "quaternion is all zero"),
    ".spz 1": (
        "a.spz",
        encode_spz([*plain(2), {**plain(1)[0], "xyz": [0.0, float("inf"), 0.0]}], 1, 0),
        [2],
        "'y' is -inf",
    ),
    "compressed .ply": ("a.ply", compressed(9, 100.0), [*range(256, 299)], "'scale_0' is 100"),
    ".sog": ("a.sog", sog_with_far_means(), None, "'y' is "),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_row_of_any_other_format(tmp_path, case):
    name, content, expected, says = OTHERS[case]
    path = tmp_path / name
    path.write_bytes(content)
    text = refusal(path)
    assert f"{says}" in text
    assert "--drop-bad-rows" in text
    found = read_gaussians(path, drop_bad_rows=True)
    assert found.dropped.tolist() == (expected or found.dropped.tolist())
    assert len(found.dropped)
    assert DROPPED in found.notes
    assert np.abs(found.cloud.xyz).max() <= MAX_VALUE
    assert found.cloud.log_scales.max() <= LOG_SCALES[1]


def test_a_file_without_any_usable_row_says_so(make_cloud, columns_of, write_ply, tmp_path):
    columns = columns_of(make_cloud(3))
    columns["y"][:] = np.nan
    path = write_ply(tmp_path / "a.ply", columns)
    for drop in (False, True):
        text = refusal(path, drop_bad_rows=drop)
        assert "'y' (3 NaN)" in text
        assert "no row is left" in text
        assert "--drop-bad-rows" not in text


def test_the_writer_has_the_same_bounds(make_cloud, tmp_path):
    cloud = make_cloud(4)
    cloud.log_scales[3, 1] = 21
    with pytest.raises(PlyError, match=r"Gaussian 3, whose 'scale_1' is 21, expected -40 to 20"):
        write_gaussian_ply(tmp_path / "a.ply", cloud)
    cloud.log_scales[3, 1] = 20
    cloud.xyz[0] = MAX_VALUE
    write_gaussian_ply(tmp_path / "a.ply", cloud)
    assert not read_gaussians(tmp_path / "a.ply").notes


values = st.one_of(
    st.floats(-3, 3, width=32),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e9, -1e9, 1.1e9, 1e38, -40.0, -41.0, 20.0, 20.1, 0.0]),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), count=st.integers(1, 6), degree=st.integers(0, 1))
def test_equal_to_one_value_after_another(data, count, degree, make_cloud, same):
    """Against a plain loop over rows and values."""
    cloud = make_cloud(count, degree)
    for _ in range(data.draw(st.integers(0, 4))):
        array = getattr(cloud, data.draw(st.sampled_from([field.name for field in fields(cloud)]))).reshape(-1)
        if array.size:
            array[data.draw(st.integers(0, array.size - 1))] = data.draw(values)
    if data.draw(st.booleans()):
        cloud.quaternions[data.draw(st.integers(0, count - 1))] = 0
    clipped = np.clip(cloud.opacity_logits, None, None)
    clipped[cloud.opacity_logits > 1e9], clipped[cloud.opacity_logits < -1e9] = END, -END
    whole = GaussianCloud(cloud.xyz, clipped, cloud.log_scales, cloud.quaternions, cloud.sh_dc, cloud.sh_rest)
    bad = bad_rows(whole)
    expected = whole.select([i for i in range(count) if i not in bad])
    copied = GaussianFile(cloud.select(np.arange(count)), "ply", degree)
    if len(bad) == count:
        with pytest.raises(GaussianFileError, match="no row is left"):
            usable(copied, drop_bad_rows=True)
        return
    if bad:
        with pytest.raises(GaussianFileError, match=f"{len(bad)} of {count} Gaussians .*Gaussian {bad[0]}, whose"):
            usable(copied)
    found = usable(copied, drop_bad_rows=True)
    assert found.dropped.tolist() == bad
    assert same(found.cloud, expected)


def test_rows_are_dropped_without_a_second_cloud(make_cloud, same):
    cloud = make_cloud(200_000)
    cloud.xyz[::3, 1] = np.nan
    expected = cloud.select(np.arange(len(cloud)) % 3 != 0)
    tracemalloc.start()
    found = usable(GaussianFile(cloud, "ply", 3), drop_bad_rows=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert same(found.cloud, expected)
    assert peak < 0.5 * 236 * len(expected)


def test_what_lies_within_the_bounds_can_be_computed_with():
    """The worst within: features, farthest points and pictures of it are finite."""
    rng = np.random.default_rng(0)
    count = 64
    cloud = GaussianCloud(
        xyz=rng.choice([-MAX_VALUE, MAX_VALUE, 0.0, 1e-9], (count, 3)),
        opacity_logits=rng.choice([-END, END, 0.0], count),
        log_scales=rng.choice(LOG_SCALES, (count, 3)),
        quaternions=rng.choice([-MAX_VALUE, MAX_VALUE, 1.0], (count, 4)),
        sh_dc=rng.normal(size=(count, 3)),
        sh_rest=rng.normal(size=(count, 15, 3)),
    )
    squares = np.square(np.ptp(cloud.xyz, axis=0)).sum(dtype=np.float32)
    variances = np.exp(2 * np.float32(LOG_SCALES))
    for value in (squares * squares, variances[1] * variances[1], 1 / variances[0]):
        assert np.isfinite(np.float32(value))
    for standardise in (False, True):
        contract = PointsContract(
            features=("xyz", "opacity", "scale", "rotation", "sh_dc", "normals"),
            num_points=32,
            standardise_attributes=standardise,
            alpha_threshold=0.0,
        )
        assert np.isfinite(points_input(cloud, contract)).all()
    orders = farthest_point_orders(cloud.xyz, 32, 3, rng)
    assert all(len(set(order.tolist())) == 32 for order in orders)
    views = rendered_views(cloud, 2, 16)
    assert views.images.shape == (2, 16, 16, 3)
