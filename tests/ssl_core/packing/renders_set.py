"""A small set in the layout of ShapeNet's renders: pictures drawn from meshes, clouds in ShapeNet's axes, lists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_core.meshes.household_objects import night_stand, table
from ssl_core.meshes.household_parts import combined
from ssl_core.meshes.mesh import Mesh, sample_surface
from ssl_core.render.mesh_raster import MeshView, render_mesh_views
from ssl_core.scenes.cameras import Camera

SIZE, POINTS, VIEWS = 32, 256, 3
TABLE, STAND = "04379243", "02933112"
SPLITS = {"train": 3, "val": 1, "test": 1}
KINDS = {TABLE: table, STAND: night_stand}


def blender_camera(azimuth: float, elevation: float, size: int = SIZE) -> Camera:
    """The camera of DRC's script for Blender, axis by axis: right, down and forward of one that stands upright."""
    a, e = np.radians([azimuth, elevation])
    eye = 2 * np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0])
    forward = -eye / 2
    viewmat = np.eye(4)
    viewmat[:3, :3] = [right, np.cross(forward, right), forward]
    viewmat[:3, 3] = -viewmat[:3, :3] @ eye
    focal = 60 / 32 * size
    return Camera(viewmat, np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]), size, size)


def mesh_of(synset: str, seed: int) -> Mesh:
    """A mesh in a box of side 1 at most, z up."""
    mesh = combined(KINDS[synset](np.random.default_rng(seed))).normalised()
    return replace(mesh, vertices=mesh.vertices / 2)


def as_shapenet(xyz: np.ndarray) -> np.ndarray:
    """z up to y up: the inverse of Blender's import of a .obj."""
    return np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], axis=1)


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def save_view(folder: Path, number: int, view: MeshView, background: str) -> None:
    """`render_<n>.png` and `mask_<n>.png`; `alpha` is DRC's own way: one RGBA picture and no mask."""
    black = view.rgb - (1 - view.alpha[..., None])
    if background == "alpha":
        straight = black / np.maximum(view.alpha[..., None], 1e-6)
        picture = to_bytes(np.dstack([straight, view.alpha]))
    else:
        picture = to_bytes(black if background == "black" else view.rgb)
        Image.fromarray(to_bytes(view.alpha)).save(folder / f"mask_{number}.png")
    Image.fromarray(picture).save(folder / f"render_{number}.png")


def angles_of(seed: int) -> list[tuple[int, int]]:
    """As DRC draws them: whole degrees."""
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(-180, 180)), int(rng.integers(-20, 40))) for _ in range(VIEWS)]


def write_renders(root: Path, background: str = "black") -> Path:
    """`images/`, `points/` and `splits/` of two synsets; models are named by synset and seed."""
    for synset in KINDS:
        seed, lists = 0, {}
        for split, count in SPLITS.items():
            for _ in range(count):
                model = f"{seed:02d}ab{synset}"
                folder, cloud = root / "images" / synset / model, root / "points" / synset / model
                folder.mkdir(parents=True)
                cloud.mkdir(parents=True)
                mesh, angles = mesh_of(synset, seed), angles_of(seed)
                views = render_mesh_views(mesh, [blender_camera(*each) for each in angles])
                for number, view in enumerate(views):
                    save_view(folder, number, view, background)
                (folder / "view.txt").write_text("".join(f"{a} {e} 0 2.0\n" for a, e in angles))
                xyz, _ = sample_surface(mesh, POINTS, np.random.default_rng(seed))
                np.save(cloud / "pcl_1024_fps_trimesh.npy", as_shapenet(xyz))
                lists.setdefault(split, []).append(model)
                seed += 1
        (root / "splits").mkdir(exist_ok=True)
        for split, models in lists.items():
            (root / "splits" / f"{synset}_{split}.txt").write_text("\n".join(models) + "\n")
    return root
