"""A procedural household set: ten classes of random furniture as meshes and as Gaussian clouds.

It stands in where no data is at hand; written in the cross-modal reference's layout, it goes the same road as
real data.
"""

import difflib

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial.transform import Rotation

from ssl_core.config import Config
from ssl_core.errors import ConfigError
from ssl_core.gaussians.gaussian_cloud import SH_C0, SH_REST, GaussianCloud
from ssl_core.meshes.household_objects import MAKERS
from ssl_core.meshes.household_parts import combined
from ssl_core.meshes.mesh import Mesh, face_areas, face_normals, sample_surface

CLASSES: tuple[str, ...] = tuple(MAKERS)
"""The ten class names of ModelNet10, sorted."""

FLOATER_SHARE = 0.1
LIGHT = np.array([0.4, -0.5, 0.77])


class HouseholdConfig(Config):
    """What `write_household` makes. Objects depend on `seed`, class, split and number only."""

    train_per_class: int = Field(default=24, ge=1)
    test_per_class: int = Field(default=24, ge=1)
    views: int = Field(default=8, ge=1, le=999)
    image_size: int = Field(default=64, ge=8, le=2048)
    gaussians: int = Field(default=1500, ge=16)
    seed: int = Field(default=0, ge=0)


def household_mesh(class_name: str, rng: np.random.Generator) -> Mesh:
    """A random object of a class in metres, standing on z = 0 and turned at random about the z axis.

    Raises ConfigError: there is no such class.
    """
    maker = MAKERS.get(class_name)
    if maker is None:
        near = difflib.get_close_matches(class_name, CLASSES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(CLASSES)}"
        raise ConfigError(f"no household class '{class_name}'; {hint}")
    mesh = combined(maker(rng))
    stretch = np.exp(rng.normal(0, 0.06, 3))
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Mesh(((mesh.vertices * stretch) @ turn.T).astype(np.float32), mesh.faces, mesh.face_colours)


def household_cloud(mesh: Mesh, n: int, rng: np.random.Generator) -> GaussianCloud:
    """`n` Gaussians as a fit to `mesh` leaves them: flat ones on the surface, a tenth floaters.

    Surface Gaussians are discs of about 0.4 sqrt(area / n) with a tenth of that as thickness, opacity mostly
    above 0.5, colours from their face under a fixed light. As in trained files, quaternions have any norm and
    any local axis may be the short one.
    """
    floaters = round(n * FLOATER_SHARE)
    points, faces = sample_surface(mesh, n, rng)
    normals = face_normals(mesh)[faces]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    spread = 0.4 * np.sqrt(face_areas(mesh).sum() / n)
    scales = spread * np.exp(rng.normal(0, 0.25, (n, 3))) * (1.0, 1.0, 0.1)
    logits = rng.normal(2.0, 1.2, n)
    shade = 0.55 + 0.45 * np.abs(normals @ (LIGHT / np.linalg.norm(LIGHT)))
    colours = mesh.face_colours[faces] * shade[:, None] + rng.normal(0, 0.02, (n, 3))

    faint = rng.permutation(n)[:floaters]
    extent = float(np.linalg.norm(np.ptp(mesh.triangles().reshape(-1, 3), axis=0)))
    points[faint] += rng.normal(0, 0.08 * extent, (floaters, 3)).astype(np.float32)
    logits[faint] = rng.uniform(-4.5, -1.2, floaters)
    scales[faint] = spread * np.exp(rng.normal(0.3, 0.4, (floaters, 3)))
    quaternions, scales = _frames(normals, scales, rng)
    return GaussianCloud(
        xyz=points,
        opacity_logits=logits.astype(np.float32),
        log_scales=np.log(scales).astype(np.float32),
        quaternions=quaternions.astype(np.float32),
        sh_dc=((np.clip(colours, 0, 1) - 0.5) / SH_C0).astype(np.float32),
        sh_rest=rng.normal(0, 0.02, (n, SH_REST[3], 3)).astype(np.float32),
    )


def _frames(
    normals: NDArray[np.float64], scales: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quaternions [N, 4] wxyz of frames with the normal as an axis; `scales` in the order of the axes."""
    helper = np.where(np.abs(normals[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    angle = rng.uniform(0, 2 * np.pi, (len(normals), 1))
    u = np.cos(angle) * first + np.sin(angle) * second
    axes = np.stack([u, np.cross(normals, u), normals], axis=2)
    # A cyclic renaming keeps the frame right-handed.
    cycle = (np.arange(3)[None, :] + rng.integers(0, 3, (len(normals), 1))) % 3
    axes = np.take_along_axis(axes, cycle[:, None, :], axis=2)
    xyzw = Rotation.from_matrix(axes).as_quat()
    quaternions = xyzw[:, [3, 0, 1, 2]] * rng.uniform(0.6, 1.2, (len(normals), 1))
    return quaternions, np.take_along_axis(scales, cycle, axis=1)
