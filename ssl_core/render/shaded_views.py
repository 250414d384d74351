"""Views of a mesh with textures and several lights: what each pixel shows is shaded where it lies (deferred shading).

Pictures are antialiased; depth, labels and faces are those that the ray through the middle of a pixel meets, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl_core.meshes.mesh import Mesh, unit_normals
from ssl_core.meshes.surface_patterns import Material, material_colours
from ssl_core.render.mesh_raster import MeshView, render_mesh_views
from ssl_core.scenes.cameras import Camera

Floats = NDArray[np.float64]

SUPERSAMPLE = 2
"""Subsamples per pixel and axis of pictures."""


@dataclass(frozen=True, eq=False)
class Light:
    """A lamp: its place [3] and its colour [3]; at `reach` metres half of its light is left."""

    place: Floats
    colour: Floats
    reach: float


@dataclass(frozen=True, eq=False)
class ShadedMesh:
    """A mesh whose faces are of instances, each with its material, under lamps and light from all sides."""

    mesh: Mesh
    instances: NDArray[np.int64]  # [F] number of a material
    materials: Sequence[Material]
    lights: Sequence[Light]
    ambient: float

    def colours(self, points: Floats, faces: NDArray[np.int64]) -> Floats:
        """[N, 3] in [0, 1] of places [N, 3] on the faces [N].

        No shadows and no gloss; both sides of a face are lit alike: a place has one colour from wherever it is seen.
        """
        albedo = np.empty((len(points), 3))
        instances = self.instances[faces]
        for number in np.unique(instances):
            chosen = instances == number
            albedo[chosen] = material_colours(self.materials[number], points[chosen])
        normals = unit_normals(self.mesh)[faces]
        light = np.full((len(points), 3), self.ambient)
        for lamp in self.lights:
            to_lamp = lamp.place - points
            distance = np.linalg.norm(to_lamp, axis=1)
            facing = np.abs(np.einsum("ni,ni->n", normals, to_lamp)) / np.maximum(distance, 1e-9)
            light += (facing / (1 + (distance / lamp.reach) ** 2))[:, None] * lamp.colour
        shaded: Floats = np.clip(albedo * light, 0.0, 1.0)
        return shaded


@dataclass(frozen=True, eq=False)
class ShadedView:
    """One picture, and what the rays through the middles of its pixels meet."""

    rgb: NDArray[np.float32]  # [H, W, 3] in [0, 1]
    alpha: NDArray[np.float32]  # [H, W] share of the pixel that the mesh covers
    depth: NDArray[np.float32]  # [H, W] along the camera's z axis; 0 where nothing is met
    faces: NDArray[np.int64]  # [H, W]; -1 where nothing is met


def shaded_view(shaded: ShadedMesh, camera: Camera, background: float = 1.0) -> ShadedView:
    """What the camera sees, before a grey background."""
    s = SUPERSAMPLE
    fine = Camera(camera.viewmat, np.diag([s, s, 1.0]) @ camera.K, camera.width * s, camera.height * s)
    (samples,) = render_mesh_views(shaded.mesh, [fine], supersample=1)
    (middle,) = render_mesh_views(shaded.mesh, [camera], supersample=1)
    hit = samples.face_index >= 0
    colours = np.full((*hit.shape, 3), background)
    colours[hit] = shaded.colours(surface_points(samples, fine), samples.face_index[hit])
    blocks = colours.reshape(camera.height, s, camera.width, s, 3).mean(axis=(1, 3))
    alpha = hit.reshape(camera.height, s, camera.width, s).mean(axis=(1, 3))
    depth = np.where(middle.face_index >= 0, middle.depth, 0.0)
    return ShadedView(blocks.astype(np.float32), alpha.astype(np.float32), depth.astype(np.float32), middle.face_index)


def surface_points(view: MeshView, camera: Camera) -> Floats:
    """[N, 3] places in the world that the pixels with a face show, row by row."""
    rows, columns = np.nonzero(view.face_index >= 0)
    z = view.depth[rows, columns].astype(np.float64)
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1)
    local = pixels @ np.linalg.inv(camera.K).T * z[:, None]
    points: Floats = (local - camera.viewmat[:3, 3]) @ camera.viewmat[:3, :3]
    return points
