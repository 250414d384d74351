"""First Gaussians of a mesh: flat discs spread evenly over the part of its surface that the cameras see.

CAD meshes are full of faces inside closed bodies. A Gaussian there is never seen, never moved by a fit and
misleads whoever learns from the cloud, so points that no view's depth buffer shows are left out.
"""

import math
from collections.abc import Sequence

import numpy as np

from ssl_core.data.sampling import farthest_point_order
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.surface_discs import surface_discs
from ssl_core.meshes.mesh import Mesh, face_areas, sample_surface, unit_normals
from ssl_core.render.mesh_raster import MeshView, baked_colours, visible_points
from ssl_core.scenes.cameras import Camera

CANDIDATES = 6
"""Surface points drawn per Gaussian, of which the farthest-point order keeps an even spread."""


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
    colours = baked_colours(mesh)[face[order]]
    return surface_discs(points[order], unit_normals(mesh)[face[order]], colours, math.sqrt(area / count))
