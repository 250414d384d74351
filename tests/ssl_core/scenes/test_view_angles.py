"""view.txt: its cameras are those of the paper's own projection, and what is no camera is named."""

import numpy as np
import pytest

from ssl_core.errors import CameraError
from ssl_core.scenes.view_angles import angle_camera, read_view_angles, y_up_to_z_up
from tests.reference.projection import project


def released_projection(points, azimuth: float, elevation: float):
    """(row, column, depth) of world2cam and perspective_transform of the released code, for 64 pixels.

    Its x axis points down, y right and z at the camera of azimuth and elevation 0.
    """
    a, e = np.radians([azimuth, elevation])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(e), 0, np.sin(e)], [0, 1, 0], [-np.sin(e), 0, np.cos(e)]])
    x, y, z = (points @ (about_y @ about_x).T - [0, 0, 2]).T
    return 120 * x / np.abs(z) + 32, 120 * y / np.abs(z) + 32, np.abs(z)


def test_cameras_are_those_of_the_paper():
    """With (x, y, z) of theirs = (-z, y, x) of ours, a rotation, every point falls on the same place."""
    rng = np.random.default_rng(0)
    ours = rng.uniform(-0.5, 0.5, (50, 3))
    theirs = np.stack([-ours[:, 2], ours[:, 1], ours[:, 0]], axis=1)
    for azimuth, elevation in rng.uniform([-180, -20], [180, 40], (20, 2)):
        pixels, depth = project(angle_camera(azimuth, elevation, 64), None, ours)
        rows, columns, far = released_projection(theirs, azimuth, elevation)
        np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1), atol=1e-9)
        np.testing.assert_allclose(depth, far, atol=1e-9)


def test_lines_belong_to_pictures_by_number():
    content = b"0 0 0 2.0\n90 10\n-45.5,30,0,3\n"
    cameras = read_view_angles(content, "view.txt", (2, 0), 64)
    for camera, expected in zip(cameras, (angle_camera(-45.5, 30, 64, 3), angle_camera(0, 0, 64)), strict=True):
        np.testing.assert_array_equal(camera.viewmat, expected.viewmat)
        np.testing.assert_array_equal(camera.K, expected.K)
    assert np.linalg.norm(cameras[0].position) == pytest.approx(3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("12", "is no 'azimuth elevation' in degrees"),
        ("", "is no 'azimuth elevation' in degrees"),
        ("a b", "is no 'azimuth elevation' in degrees"),
        ("nan 3", "is no 'azimuth elevation' in degrees"),
        ("10 91", "is no 'azimuth elevation' in degrees"),
        ("10 20 5 2", "a tilt of 5 degrees is not read"),
        ("10 20 0 -1", "a distance of -1 is none"),
        ("10 20 0 nan", "a distance of nan is none"),
    ],
)
def test_a_line_that_is_no_camera_is_named(line, words):
    with pytest.raises(CameraError, match=rf"view\.txt line 1: .*{words}"):
        read_view_angles(f"{line}\n0 0\n".encode(), "view.txt", (0,), 64)


def test_fewer_lines_than_pictures():
    with pytest.raises(CameraError, match=r"view\.txt: has 2 lines, and picture 9 needs line 10"):
        read_view_angles(b"0 0\n1 1\n\n", "view.txt", (0, 9), 64)


def test_shapenets_up_is_up():
    np.testing.assert_array_equal(y_up_to_z_up(np.eye(3, dtype=np.float32)), [[1, 0, 0], [0, 0, 1], [0, -1, 0]])
