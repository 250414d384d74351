"""First Gaussians of a mesh: flat discs spread evenly over the part of its surface that the cameras see.

CAD meshes are full of faces inside closed bodies. A Gaussian there is never seen, never moved by a fit and
misleads whoever learns from the cloud, so points that no view's depth buffer shows are left out.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.sampling import farthest_point_order
from ssl_core.gaussians.gaussian_cloud import SH_C0, GaussianCloud
from ssl_core.meshes.mesh import Mesh, face_areas, face_normals, sample_surface
from ssl_core.render.mesh_raster import NEAR, MeshView, baked_colours
from ssl_core.scenes.cameras import Camera

CANDIDATES = 6
"""Surface points drawn per Gaussian, of which the farthest-point order keeps an even spread."""
DISC_RADIUS = 0.35
"""Standard deviation in the surface, in units of sqrt(area per Gaussian)."""
THICKNESS = 0.1
"""Standard deviation across the surface, in units of the one in it."""
OPACITY = 0.9


def surface_gaussians(
    mesh: Mesh, cameras: Sequence[Camera], views: Sequence[MeshView], count: int, rng: np.random.Generator
) -> GaussianCloud:
    """`count` Gaussians (SH degree 0) on the surface of `mesh` (world units), as far as the views' depth shows it."""
    candidates = max(CANDIDATES * count, 64)
    points, face = sample_surface(mesh, candidates, rng)
    visible = np.flatnonzero(visible_points(points, cameras, views))
    if len(visible) < count:  # hardly anything is seen: a thin sheet edge-on, or a mesh out of view
        visible = np.arange(candidates)
    order = visible[farthest_point_order(points[visible], count, 0)]
    area = float(face_areas(mesh).sum()) * len(visible) / candidates
    log_radius = math.log(DISC_RADIUS * math.sqrt(area / count))
    log_scales = np.full((count, 3), log_radius, np.float32)
    log_scales[:, 2] += math.log(THICKNESS)
    return GaussianCloud(
        xyz=points[order],
        opacity_logits=np.full(count, math.log(OPACITY / (1 - OPACITY)), np.float32),
        log_scales=log_scales,
        quaternions=_tilt_z_to(_normals(mesh)[face[order]]),
        sh_dc=(baked_colours(mesh)[face[order]] - 0.5) / SH_C0,
        sh_rest=np.zeros((count, 0, 3), np.float32),
    )


def visible_points(
    points: NDArray[np.float32], cameras: Sequence[Camera], views: Sequence[MeshView]
) -> NDArray[np.bool_]:
    """[N] whether a point lies at most one pixel's width behind what at least one view shows in its place."""
    seen = np.zeros(len(points), dtype=bool)
    for camera, view in zip(cameras, views, strict=True):
        local = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
        z = np.maximum(local[:, 2], NEAR)
        pixel = local @ camera.K.T
        column, row = np.floor(pixel[:, 0] / z), np.floor(pixel[:, 1] / z)
        inside = (local[:, 2] > NEAR) & (np.minimum(column, row) >= 0)
        index = np.flatnonzero(inside & (column < camera.width) & (row < camera.height))
        shown = view.depth[row[index].astype(np.int64), column[index].astype(np.int64)]
        seen[index] |= z[index] <= shown + z[index] / camera.K[0, 0]
    return seen


def _normals(mesh: Mesh) -> NDArray[np.float64]:
    """[F, 3] unit normals; those without a normal get the z axis."""
    normals = face_normals(mesh)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])


def _tilt_z_to(normals: NDArray[np.float64]) -> NDArray[np.float32]:
    """[N, 4] wxyz of the shortest rotation from the z axis to a normal or its opposite, whichever is nearer."""
    x, y, z = (normals * np.where(normals[:, 2:] < 0, -1, 1)).T
    quaternions = np.stack([1 + z, -y, x, np.zeros_like(x)], axis=1)
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)
