"""The numbers of the reference's camera, and the fast pictures against every point at every pixel."""

import math

import numpy as np
import pytest
import torch

from ssl_core.render.point_splatting import (
    OrbitLens,
    Projection,
    orbit_rotation,
    project_points,
    splat_colour,
    splat_mask,
)
from ssl_core.scenes.cameras import orbit_cameras
from tests.reference.dense_splatting import dense_colour, dense_mask


def reference_lens(size: int) -> OrbitLens:
    """Focal length 120 of 64 pixels, distance 2, and the release's middle: half a pixel beside ours."""
    return OrbitLens(size, 120 / 64 * size, 2.0, size / 2)


def seen(clouds: int = 2, points: int = 90, size: int = 24) -> tuple[Projection, torch.Tensor]:
    """A few random clouds from random sides, and their colours; some points fall outside the picture."""
    generator = torch.Generator().manual_seed(5)
    xyz = torch.rand(clouds, points, 3, generator=generator, dtype=torch.float64) * 1.4 - 0.7
    angles = torch.rand(clouds, 2, generator=generator, dtype=torch.float64) * 6 - 3
    rgb = torch.rand(clouds, points, 3, generator=generator, dtype=torch.float64)
    return project_points(xyz, orbit_rotation(angles[:, 0], angles[:, 1]), OrbitLens.of(size, 1.6, 2.0)), rgb


@pytest.mark.parametrize(("size", "row"), [(64, 62), (32, 31)])
def test_the_origin_is_the_middle_and_half_a_unit_ends_at_the_references_row(size, row) -> None:
    cloud = torch.tensor([[[0.0, 0, 0], [0, 0, -0.5], [0, 0, 0.5]]])
    found = project_points(cloud, orbit_rotation(torch.zeros(1), torch.zeros(1)), reference_lens(size))
    assert found.rows[0].tolist() == pytest.approx([size / 2, row, size - row])
    assert found.cols[0].tolist() == pytest.approx([size / 2] * 3)
    assert found.depths[0].tolist() == pytest.approx([2.0] * 3)


def test_a_pose_is_an_orbit_camera_of_the_project() -> None:
    for camera in orbit_cameras(6, 32, elevations=(-60, 80)):
        x, y, z = camera.position / np.linalg.norm(camera.position)
        pose = torch.tensor([[math.atan2(y, x)], [math.asin(z)]], dtype=torch.float64)
        assert np.allclose(orbit_rotation(*pose)[0].numpy(), camera.viewmat[:3, :3], atol=1e-12)
        lens = OrbitLens.of(32, camera.K[0, 0] / 32, 2.6)
        points = 0.4 * torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        found = project_points(points, orbit_rotation(*pose), lens)
        expected = (points[0].numpy() @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]) @ camera.K.T
        assert np.allclose(found.cols[0] + 0.5, expected[:, 0] / expected[:, 2])
        assert np.allclose(found.rows[0] + 0.5, expected[:, 1] / expected[:, 2])


def test_masks_and_colours_are_those_of_every_point_at_every_pixel() -> None:
    projection, rgb = seen()
    mask = splat_mask(projection, 24, 0.4)
    assert torch.allclose(mask, dense_mask(projection.rows, projection.cols, 24, 0.4), atol=1e-12)
    assert mask.min() >= 0
    assert mask.max() < 1
    dense = dense_colour(projection.rows, projection.cols, projection.depths, rgb, 24)
    assert torch.allclose(splat_colour(projection, rgb, 24), dense, atol=1e-12)
    single = Projection(*(part.float() for part in (projection.rows, projection.cols, projection.depths)))
    assert torch.allclose(splat_colour(single, rgb.float(), 24).double(), dense, atol=1e-5)


def test_points_on_whole_pixels_colour_nine_of_them() -> None:
    there = Projection(torch.tensor([[4.0]]), torch.tensor([[7.0]]), torch.tensor([[2.0]]))
    rgb = torch.tensor([[[0.2, 0.5, 0.9]]])
    picture = splat_colour(there, rgb, 12)
    assert int((picture[0, 0] > 0).sum()) == 9
    assert picture[0, :, 4, 7].tolist() == pytest.approx([0.2, 0.5, 0.9])
    assert torch.equal(picture, dense_colour(there.rows, there.cols, there.depths, rgb, 12))


def test_one_centred_point_has_the_references_values() -> None:
    there = Projection(torch.tensor([[8.0]]), torch.tensor([[8.0]]), torch.tensor([[2.0]]))
    mask = splat_mask(there, 16, 0.4)[0]
    assert float(mask[8, 8]) == pytest.approx(math.tanh(1))
    assert float(mask[8, 9]) == pytest.approx(0.279, abs=1e-3)


@pytest.mark.parametrize(("gap", "share"), [(0.1, 0.75), (0.2, 0.90), (0.5, 0.996)])
def test_the_nearer_of_two_points_has_the_references_share_of_the_colour(gap, share) -> None:
    two = Projection(torch.full((1, 2), 5.0), torch.full((1, 2), 5.0), torch.tensor([[2 - gap / 2, 2 + gap / 2]]))
    picture = splat_colour(two, torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]]), 10)
    assert float(picture[0, 0, 5, 5]) == pytest.approx(share, abs=3e-3)


def test_colour_moves_points_in_depth_alone_and_the_mask_moves_them_aside() -> None:
    projection, rgb = seen(1)
    places = [part.clone().requires_grad_() for part in (projection.rows, projection.cols, projection.depths)]
    splat_colour(Projection(*places), rgb, 24).square().sum().backward()
    assert places[0].grad is None
    assert places[1].grad is None
    assert float(places[2].grad.abs().sum()) > 0
    splat_mask(Projection(*places), 24, 0.4).sum().backward()
    assert float(places[0].grad.abs().sum()) > 0
    assert float(places[1].grad.abs().sum()) > 0


def test_points_behind_the_camera_are_not_turned_over() -> None:
    cloud = torch.tensor([[[9.0, 0.3, 0.2], [0.1, 0.0, 0.0]]], requires_grad=True)
    found = project_points(cloud, orbit_rotation(torch.zeros(1), torch.zeros(1)), OrbitLens.of(16, 1.5, 2.0))
    assert (found.depths > 0).all()
    (splat_mask(found, 16, 0.4).sum() + splat_colour(found, torch.rand(1, 2, 3), 16).sum()).backward()
    assert torch.isfinite(cloud.grad).all()
