"""Where the Gaussians of a scene begin: at the points that the cameras were found with, or at random ones."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from ssl_core.errors import DataError
from ssl_core.gaussians.gaussian_cloud import SH_C0, SH_REST, GaussianCloud
from ssl_core.scenes.cameras import Camera, ScenePoints

OPACITY = 0.1
NEIGHBOURS = 3
MIN_SQUARE = 1e-7
"""Mean squared distance to the neighbours at least: points at one place would have no size."""


def scene_extent(cameras: Sequence[Camera]) -> float:
    """1.1 times the largest distance of a camera from their mean, world units: learning rates are in terms of it.

    Raises DataError: all cameras stand at one point.
    """
    places = np.stack([camera.position for camera in cameras])
    extent = 1.1 * float(np.linalg.norm(places - places.mean(axis=0), axis=1).max())
    if not extent > 0:
        raise DataError(f"{len(cameras)} cameras at one point cannot show depth; give views from several places")
    return extent


def random_points(cameras: Sequence[Camera], count: int, rng: np.random.Generator) -> ScenePoints:
    """Points of random colours, uniform in the cube around the place that the cameras look at.

    That place is nearest to all optical axes (least squares); half the cube's side is half the height or width that
    the cameras see there, the larger one, on average.
    """
    places = np.stack([camera.position for camera in cameras])
    axes = np.stack([camera.viewmat[2, :3] for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    centre = np.linalg.lstsq(across.sum(0), (across @ places[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    spread = [max(c.width / c.K[0, 0], c.height / c.K[1, 1]) / 2 for c in cameras]
    half = float(np.mean(np.linalg.norm(places - centre, axis=1) * spread))
    xyz = centre + half * rng.uniform(-1, 1, (count, 3))
    return ScenePoints(xyz, rng.integers(0, 256, (count, 3), dtype=np.uint8))


def starting_gaussians(points: ScenePoints, sh_degree: int) -> GaussianCloud:
    """A round Gaussian at each point, as large as its three nearest neighbours are far: root of their mean square.

    Raises DataError: fewer than four points.
    """
    if len(points) <= NEIGHBOURS:
        raise DataError(f"{len(points)} points are too few to begin at; begin at random ones (points None)")
    distances, _ = cKDTree(points.xyz).query(points.xyz, k=NEIGHBOURS + 1)
    square = np.maximum(np.square(distances[:, 1:]).mean(axis=1), MIN_SQUARE)
    log_scales = np.repeat(np.log(square)[:, None] / 2, 3, axis=1)
    count = len(points)
    return GaussianCloud(
        xyz=points.xyz.astype(np.float32),
        opacity_logits=np.full(count, np.log(OPACITY / (1 - OPACITY)), np.float32),
        log_scales=log_scales.astype(np.float32),
        quaternions=np.tile(np.eye(1, 4, dtype=np.float32), (count, 1)),
        sh_dc=((points.colours / 255 - 0.5) / SH_C0).astype(np.float32),
        sh_rest=np.zeros((count, SH_REST[sh_degree], 3), np.float32),
    )
