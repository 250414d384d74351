"""The span z-buffer against a brute-force ray caster, and the laws of pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_core.meshes.mesh import Mesh
from ssl_core.render.mesh_raster import NEAR, MeshView, baked_colours, render_mesh_views
from ssl_core.scenes.cameras import Camera, intrinsics, look_at, orbit_cameras


def render_mesh(mesh, camera, **options) -> MeshView:
    return render_mesh_views(mesh, [camera], **options)[0]


FRONT = Camera(look_at([0, -3, 0], [0, 0, 0]), intrinsics(32, 50), 32, 32)


def mesh_of(triangles: np.ndarray, colours: np.ndarray | None = None) -> Mesh:
    count = len(triangles)
    colours = np.full((count, 3), 0.7) if colours is None else colours
    return Mesh(
        np.asarray(triangles, np.float32).reshape(-1, 3),
        np.arange(3 * count).reshape(count, 3),
        np.asarray(colours, np.float32),
    )


def cast_rays(mesh: Mesh, camera: Camera) -> np.ndarray:
    """[H, W, F] depth where each pixel centre's ray meets each face (Moeller & Trumbore 1997), else inf."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    local = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.K).T
    direction = local @ camera.viewmat[:3, :3]
    a, b, c = np.moveaxis(mesh.triangles(), 1, 0)
    e1, e2, s = b - a, c - a, camera.position - a
    p = np.cross(direction[:, :, None], e2)
    det = (p * e1).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (p * s).sum(-1) / det
        q = np.cross(s, e1)
        v = (direction[:, :, None] * q).sum(-1) / det
        t = (q * e2).sum(-1) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return np.where(hit, t, np.inf)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 0.05]))
def test_depth_and_faces_agree_with_ray_casting(seed: int, thin: float) -> None:
    rng = np.random.default_rng(seed)
    triangles = rng.uniform(-0.8, 0.8, (12, 3, 3))
    triangles[:, 2] = triangles[:, 1] + thin * (triangles[:, 2] - triangles[:, 1])  # slivers where thin is small
    mesh = mesh_of(triangles)
    camera = orbit_cameras(1, 40, seed=seed, elevations=(-80, 80))[0]
    view = render_mesh(mesh, camera, supersample=1)
    depths = cast_rays(mesh, camera)
    nearest = depths.min(-1)
    covered = np.isfinite(nearest)
    assert (covered != (view.face_index >= 0)).mean() < 2e-3, "pixel centres on an edge may go either way"
    both = covered & (view.face_index >= 0)
    assert np.isclose(view.depth[both], nearest[both], rtol=1e-4).mean() > 0.995
    own = np.take_along_axis(depths, np.maximum(view.face_index, 0)[..., None], -1)[..., 0]
    assert np.isclose(own[both], nearest[both], rtol=1e-4).mean() > 0.995


def test_the_nearer_face_is_seen_whatever_the_order() -> None:
    square = np.array([[[-1, 0, -1], [1, 0, -1], [1, 0, 1]], [[-1, 0, -1], [1, 0, 1], [-1, 0, 1]]], float)
    near, far = square - np.array([0, 0.5, 0]), square + np.array([0, 0.5, 0])
    red, blue = np.tile([1.0, 0, 0], (2, 1)), np.tile([0, 0, 1.0], (2, 1))
    for triangles, colours in (([near, far], [red, blue]), ([far, near], [blue, red])):
        view = render_mesh(mesh_of(np.concatenate(triangles), np.concatenate(colours)), FRONT)
        middle = view.rgb[12:20, 12:20]
        assert (middle[..., 0] > 0.2).all()
        assert (middle[..., 2] == 0).all()
        assert np.allclose(view.depth[12:20, 12:20], 2.5)


def test_behind_the_camera_nothing_is_drawn() -> None:
    behind = mesh_of(np.array([[[-1, -5, -1], [1, -5, -1], [0, -5, 1]]], float))
    view = render_mesh(behind, FRONT)
    assert (view.face_index == -1).all()
    assert np.isinf(view.depth).all()
    assert (view.rgb == 1).all()


def test_background_and_far_off_screen() -> None:
    view = render_mesh(mesh_of(np.array([[[90, 0, 0], [91, 0, 0], [90, 0, 1]]], float)), FRONT, background=0.25)
    assert np.allclose(view.rgb, 0.25)


def test_a_face_larger_than_the_screen_fills_it() -> None:
    view = render_mesh(mesh_of(np.array([[[-900, 1, -900], [900, 1, -900], [0, 1, 900]]], float)), FRONT)
    assert (view.face_index == 0).all()
    assert np.allclose(view.depth, 4, rtol=1e-5)


def test_shared_edges_have_no_cracks() -> None:
    """A fan around a point inside the picture covers what its hull covers."""
    angles = np.linspace(0, 2 * np.pi, 37)
    rim = np.stack([np.cos(angles), np.zeros(37), np.sin(angles)], -1)
    fan = np.stack([np.tile([0.013, 0, 0.021], (36, 1)), rim[:-1], rim[1:]], 1)
    view = render_mesh(mesh_of(fan), FRONT, supersample=1)
    rows, columns = np.nonzero(view.face_index >= 0)
    inside = np.hypot(*(np.mgrid[:32, :32] + 0.5 - 16)) < 0.95 * 32 / 2 / np.tan(np.radians(25)) / 3
    assert (view.face_index[inside] >= 0).all()
    assert len(rows) == len(columns) > inside.sum()


def test_supersampling_averages_the_finer_picture() -> None:
    mesh = mesh_of(np.random.default_rng(0).uniform(-0.8, 0.8, (9, 3, 3)))
    fine = Camera(FRONT.viewmat, intrinsics(64, 50), 64, 64)
    expected = render_mesh(mesh, fine, supersample=1).rgb.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.allclose(render_mesh(mesh, FRONT, supersample=2).rgb, expected, atol=1e-6)


def test_light_ignores_winding_and_tells_the_sides_of_a_box_apart() -> None:
    triangle = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], float)
    assert np.allclose(baked_colours(mesh_of(triangle)), baked_colours(mesh_of(triangle[:, ::-1])))
    sides = np.concatenate([np.roll(triangle, shift, axis=-1) for shift in range(3)])
    shades = np.sort(baked_colours(mesh_of(sides))[:, 0])
    assert (np.diff(shades) > 0.08).all()
    assert shades[-1] < 0.7, "lit faces stay clearly darker than a white background"


def test_views_in_one_call_equal_views_one_by_one() -> None:
    mesh = mesh_of(np.random.default_rng(1).uniform(-0.8, 0.8, (9, 3, 3)))
    cameras = orbit_cameras(3, 24)
    for view, camera in zip(render_mesh_views(mesh, cameras), cameras, strict=True):
        alone = render_mesh(mesh, camera)
        assert np.array_equal(view.rgb, alone.rgb)
        assert np.array_equal(view.face_index, alone.face_index)
        assert view.rgb.dtype == np.float32
        assert view.rgb.shape == (24, 24, 3)


@pytest.mark.parametrize("size", [(20, 50), (50, 20)])
def test_pictures_need_not_be_square(size: tuple[int, int]) -> None:
    height, width = size
    K = np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1]])
    camera = Camera(FRONT.viewmat, K, width, height)
    view = render_mesh(mesh_of(np.array([[[-9, 1, -9], [9, 1, -9], [0, 1, 19]]], float)), camera)
    assert view.rgb.shape == (height, width, 3)
    assert (view.face_index == 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_faces_that_reach_behind_the_camera_are_cut_there(seed: int) -> None:
    """From amid a heap of triangles: depth as by casting rays, of what lies beyond NEAR."""
    rng = np.random.default_rng(seed)
    mesh = mesh_of(rng.uniform(-2, 2, (30, 3, 3)))
    camera = Camera(look_at([0, 0, 0], rng.normal(size=3)), intrinsics(32, 80), 32, 32)
    view = render_mesh(mesh, camera, supersample=1)
    depths = cast_rays(mesh, camera)
    nearest = np.where(depths > NEAR, depths, np.inf).min(-1)
    covered = np.isfinite(nearest)
    assert (covered != (view.face_index >= 0)).mean() < 5e-3, "pixel centres on an edge may go either way"
    both = covered & (view.face_index >= 0)
    assert np.isclose(view.depth[both], nearest[both], rtol=1e-3).mean() > 0.99
