"""Fitting: Adam as published, a start on the visible surface, fits that get better and repeat bit for bit."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from ssl_core.errors import DataError, DivergedError
from ssl_core.meshes.mesh import Mesh
from ssl_core.render.adam import Adam
from ssl_core.render.fit import FitConfig, fit_gaussians, mean_psnr
from ssl_core.render.mesh_raster import render_mesh_views
from ssl_core.scenes.cameras import orbit_cameras
from ssl_core.splatting.surface_init import surface_gaussians, visible_points
from tests.reference.gaussian_axes import normals


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def box(size: float = 0.5, colour: tuple[float, float, float] = (0.8, 0.5, 0.3)) -> Mesh:
    """An axis-aligned cube, 12 faces."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * size
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int64)
    return Mesh(corners, faces, np.tile(np.float32(colour), (12, 1)))


def nested() -> Mesh:
    """A cube with a smaller one inside that nobody sees."""
    outer, inner = box(0.5), box(0.25)
    return Mesh(
        np.concatenate([outer.vertices, inner.vertices]),
        np.concatenate([outer.faces, inner.faces + len(outer.vertices)]),
        np.concatenate([outer.face_colours, inner.face_colours]),
    )


def problem(views: int = 6, size: int = 32, count: int = 120):
    cameras = orbit_cameras(views, size, elevations=(-40, 70))
    pictures = render_mesh_views(box(), cameras)
    init = surface_gaussians(box(), cameras, pictures, count, np.random.default_rng(0))
    return np.stack([p.rgb for p in pictures]), cameras, init


def test_adam_is_the_published_algorithm() -> None:
    """Kingma & Ba 2015, algorithm 1, line by line in float64 for each number on its own."""
    rng = np.random.default_rng(0)
    start, rates = rng.normal(size=(7, 3)), np.array([1e-2, 1e-1, 1e-3])
    ours = torch.tensor(start)
    adam = Adam(ours, torch.tensor(rates))
    theta, m, v = start.copy(), np.zeros((7, 3)), np.zeros((7, 3))
    for t in range(1, 21):
        g, share = rng.normal(size=(7, 3)), rng.uniform()
        adam.step(torch.tensor(g), share)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta -= share * rates * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-15)
    assert np.allclose(ours.numpy(), theta, rtol=1e-9)


@pytest.mark.slow
def test_fitting_does_not_load_torchs_compiler() -> None:
    """It takes seconds, in every worker process."""
    code = (
        "import sys, numpy as np, ssl_core.splatting.splat_object as s, ssl_core.scenes.cameras as c\n"
        "from ssl_core.gaussians.gaussian_cloud import GaussianCloud as G\n"
        "f = lambda *shape: np.ones(shape, np.float32)\n"
        "g = G(f(2, 3), f(2), f(2, 3), f(2, 4), f(2, 3), f(2, 0, 3))\n"
        "s.fit_gaussians(f(1, 16, 16, 3), c.orbit_cameras(1, 16), g, s.FitConfig(steps=2))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_fit_gets_better_on_views_it_has_not_seen() -> None:
    images, cameras, init = problem()
    unseen = orbit_cameras(4, 32, seed=9, elevations=(-40, 70))
    truth = np.stack([p.rgb for p in render_mesh_views(box(), unseen)])
    result = fit_gaussians(images, cameras, init, FitConfig(steps=60))
    assert mean_psnr(result.cloud, truth, unseen) > mean_psnr(init, truth, unseen) + 3
    assert len(result.losses) == 60
    assert result.losses[-6:].mean() < result.losses[:6].mean() / 2
    assert len(result.cloud) == len(init)


def test_a_fit_repeats_bit_for_bit_and_follows_its_seed() -> None:
    images, cameras, init = problem(views=3)
    first, second = (fit_gaussians(images, cameras, init, FitConfig(steps=6)).cloud for _ in range(2))
    assert np.array_equal(first.xyz, second.xyz)
    assert np.array_equal(first.quaternions, second.quaternions)
    other = fit_gaussians(images, cameras, init, FitConfig(steps=6, seed=1)).cloud
    assert not np.array_equal(first.xyz, other.xyz)


def test_every_parameter_moves_harmonics_too_and_the_start_is_left_alone() -> None:
    images, cameras, init = problem(views=3)
    start = init.padded(1)
    before = start.sh_rest.copy(), start.xyz.copy()
    fitted = fit_gaussians(images, cameras, start, FitConfig(steps=4)).cloud
    for name in ("xyz", "opacity_logits", "log_scales", "quaternions", "sh_dc", "sh_rest"):
        assert not np.array_equal(getattr(fitted, name), getattr(start, name)), name
    assert np.array_equal(start.sh_rest, before[0])
    assert np.array_equal(start.xyz, before[1])


def test_zero_steps_give_the_start_back() -> None:
    images, cameras, init = problem(views=2)
    result = fit_gaussians(images, cameras, init, FitConfig(steps=0))
    assert np.array_equal(result.cloud.xyz, init.xyz)
    assert len(result.losses) == 0


def test_psnr_is_its_formula() -> None:
    _, cameras, init = problem(views=2)
    nothing = replace(init, opacity_logits=np.full(len(init), -20.0))
    images = np.full((2, 32, 32, 3), 0.9, np.float32)  # the picture is the white background
    assert mean_psnr(nothing, images, cameras) == pytest.approx(20.0, abs=1e-4)


def test_wrong_fits_are_refused() -> None:
    images, cameras, init = problem(views=2)
    with pytest.raises(DataError, match="one camera per image"):
        fit_gaussians(images, cameras[:1], init, FitConfig())
    with pytest.raises(DataError, match="0 images"):
        fit_gaussians(images[:0], [], init, FitConfig())
    with pytest.raises(DivergedError, match="step 0"):
        fit_gaussians(images * np.nan, cameras, init, FitConfig(steps=2))


def test_the_start_lies_on_the_visible_surface_facing_out() -> None:
    cameras = orbit_cameras(12, 48, elevations=(-80, 80))
    pictures = render_mesh_views(nested(), cameras)
    init = surface_gaussians(nested(), cameras, pictures, 200, np.random.default_rng(0))
    assert len(init) == 200
    assert np.allclose(np.abs(init.xyz).max(1), 0.5, atol=1e-5), "none on the inner cube"
    side = np.abs(init.xyz).argmax(1)
    assert np.allclose(np.abs(normals(init))[np.arange(200), side], 1, atol=1e-4), "flat in their face"
    distances = np.linalg.norm(init.xyz[:, None] - init.xyz[None], axis=-1) + 9 * np.eye(200)
    assert distances.min() > 0.4 * np.sqrt(6 / 200), "evenly spread"


def test_visibility_is_that_of_the_depth_buffer() -> None:
    cameras = orbit_cameras(6, 48, elevations=(-10, 60))
    pictures = render_mesh_views(box(), cameras)
    points = np.array([[0, 0, 0.5], [0, 0, 0], [0, 0, -0.5], [0, 0, 99], [9, 0, 0]], np.float32)
    seen = visible_points(points, cameras, pictures)
    assert seen[0], "the top"
    assert not seen[1], "the inside"
    assert not seen[2], "the bottom, from above"


def test_a_mesh_out_of_view_still_gives_a_start() -> None:
    cameras = orbit_cameras(2, 16)
    far = box()
    far = Mesh(far.vertices + np.float32(50), far.faces, far.face_colours)
    init = surface_gaussians(far, cameras, render_mesh_views(far, cameras), 30, np.random.default_rng(0))
    assert len(init) == 30
    assert np.isfinite(init.log_scales).all()
