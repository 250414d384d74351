"""One mesh on its way into a pack: points of its surface with normals, and pictures of it with their cameras.

Nothing is fitted: the points are those of the faces themselves. The mesh is brought into the unit sphere first.
"""

import math

import numpy as np

from ssl_core.clouds.point_cloud import PointCloud
from ssl_core.clouds.points_file import ReadPoints
from ssl_core.data.object_pack import PackConfig
from ssl_core.errors import MeshError
from ssl_core.files.source import Source
from ssl_core.gaussians.surface_discs import surface_discs
from ssl_core.meshes.mesh import Mesh, face_areas, sample_surface, unit_normals
from ssl_core.meshes.mesh_file import read_mesh
from ssl_core.packing.packed_object import ObjectViews, views_of_arrays
from ssl_core.render.mesh_raster import baked_colours, render_mesh_views, visible_points
from ssl_core.scenes.cameras import orbit_cameras

ALL_AROUND = (-30.0, 75.0)
"""Elevations, in degrees, of the cameras that say which points can be seen at all."""

_LOOKS, _LOOK_SIZE = 12, 96
_DRAWN_AT_MOST = 16


def read_surface(source: Source, config: PackConfig, rng: np.random.Generator) -> tuple[Mesh, ReadPoints]:
    """The mesh in the unit sphere, and points of it, uniform in area over what can be seen from outside.

    CAD meshes are full of faces inside closed bodies, which no picture shows: of 20 ModelNet10 meshes a fifth of the
    area. Where hardly anything is seen (a sheet edge-on) all faces count.

    Raises MeshError.
    """
    count = config.surface_points
    assert count is not None
    mesh = read_mesh(source).normalised()
    cameras = orbit_cameras(_LOOKS, _LOOK_SIZE, seed=1, elevations=ALL_AROUND)
    looks = render_mesh_views(mesh, cameras, supersample=1)
    points, faces = sample_surface(mesh, 2 * count, rng)
    seen = np.flatnonzero(visible_points(points, cameras, looks))
    share = len(seen) / (2 * count)
    if len(seen) < count and share > 1 / _DRAWN_AT_MOST:
        points, faces = sample_surface(mesh, math.ceil(1.1 * count / share), rng)
        seen = np.flatnonzero(visible_points(points, cameras, looks))
    if len(seen) < count:
        seen, share = np.arange(len(points)), 1.0
    kept = seen[:count]
    spacing = math.sqrt(float(face_areas(mesh).sum()) * share / len(kept))
    normals = unit_normals(mesh)[faces[kept]].astype(np.float32)
    cloud = surface_discs(points[kept], normals, baked_colours(mesh)[faces[kept]], spacing)
    return mesh, ReadPoints(cloud, groups=PointCloud(points[kept], normals).groups)


def mesh_views(mesh: Mesh, source: Source, config: PackConfig, size: int) -> ObjectViews:
    """`config.rendered_views` pictures from around and above, on white. Raises MeshError: nothing can be seen."""
    cameras = orbit_cameras(config.rendered_views, size, seed=config.seed)
    views = render_mesh_views(mesh, cameras)
    if not any(np.isfinite(view.depth).any() for view in views):
        raise MeshError(f"{source}: none of its faces covers a pixel; leave it out")
    return views_of_arrays([view.rgb for view in views], [view.alpha for view in views], cameras, config)
