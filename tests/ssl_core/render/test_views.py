"""Views of clouds that bring no pictures: the same whatever the cloud's units, place and floaters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.render.views import framed, render_views


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def ball(count: int = 300, scale: float = 1.0, place: tuple[float, float, float] = (0, 0, 0)) -> GaussianCloud:
    """An opaque, coloured, lopsided ball."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(count, 3))
    xyz = direction / np.linalg.norm(direction, axis=1, keepdims=True) * [1, 0.7, 0.5]
    return GaussianCloud(
        xyz=xyz * scale + np.array(place),
        opacity_logits=np.full(count, 4.0),
        log_scales=rng.normal(-2.5, 0.2, (count, 3)) + np.log(scale),
        quaternions=rng.normal(size=(count, 4)),
        sh_dc=rng.normal(0, 0.8, size=(count, 3)),
        sh_rest=rng.normal(0, 0.1, size=(count, 3, 3)),
    )


def join(a: GaussianCloud, b: GaussianCloud) -> GaussianCloud:
    names = ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest")
    return GaussianCloud(*(np.concatenate([getattr(a, n), getattr(b, n)]) for n in names))


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([1e-3, 0.1, 7.0, 400.0]), st.tuples(*[st.sampled_from([0.0, -3.0, 20.0])] * 3))
def test_units_and_place_do_not_matter(scale: float, place: tuple[float, float, float]) -> None:
    offset = tuple(scale * p for p in place)
    there = render_views(ball(scale=scale, place=offset), 2, 24).astype(int)
    difference = np.abs(there - render_views(ball(), 2, 24).astype(int))
    assert (difference > 2).mean() < 0.01, "but for float32 rounding at the cut-offs"


def test_pictures_are_uint8_on_white_and_show_the_object_in_full() -> None:
    views = render_views(ball(), 4, 32)
    assert views.shape == (4, 32, 32, 3)
    assert views.dtype == np.uint8
    border = np.concatenate([views[:, 0], views[:, -1], views[:, :, 0], views[:, :, -1]], axis=1)
    assert (border > 250).all(), "nothing is cut off"
    covered = (views.min(-1) < 250).mean((1, 2))
    assert (covered > 0.15).all(), "nor lost in the distance"


def test_the_first_views_do_not_depend_on_the_count() -> None:
    assert np.array_equal(render_views(ball(), 5, 16)[:2], render_views(ball(), 2, 16))


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0)])
def test_clouds_with_another_axis_up_are_framed_too(axes: tuple[int, int, int]) -> None:
    cloud = ball()
    flipped = GaussianCloud(
        -cloud.xyz[:, axes],
        cloud.opacity_logits,
        cloud.log_scales,
        cloud.quaternions,
        cloud.sh_dc,
        cloud.sh_rest,
    )
    views = render_views(flipped, 3, 32)
    assert (views[:, 0] > 250).all()
    assert ((views.min(-1) < 250).mean((1, 2)) > 0.15).all()


def test_floaters_neither_move_nor_shrink_the_object() -> None:
    far, faint = ball(count=2, place=(300, 0, 0)), ball(count=40, place=(0, 9, 0))
    faint = GaussianCloud(faint.xyz, np.full(40, -3.0), faint.log_scales, faint.quaternions, faint.sh_dc, faint.sh_rest)
    spoilt = framed(join(join(ball(), far), faint)).xyz[:300]
    assert np.abs(spoilt - framed(ball()).xyz).max() < 0.05


def test_framing_keeps_shape_and_colour() -> None:
    cloud = ball(scale=30, place=(5, 5, 5))
    result = framed(cloud)
    ratio = np.exp(result.log_scales - cloud.log_scales)
    assert np.allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert np.array_equal(result.sh_rest, cloud.sh_rest)
    assert np.linalg.norm(result.xyz, axis=1).max() < 1.1


@pytest.mark.parametrize("logit", [4.0, -3.0])
def test_a_single_gaussian_and_a_transparent_cloud_are_drawn(logit: float) -> None:
    one = ball(count=1, scale=100, place=(9, 9, 9))
    one = GaussianCloud(one.xyz, np.array([logit]), one.log_scales, one.quaternions, one.sh_dc - 2, one.sh_rest)
    views = render_views(one, 2, 16)
    assert (views.min(-1) < 250).any()


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="no Gaussians"):
        render_views(ball().select(slice(0, 0)), 2, 16)
