"""Data sets of a few small objects that are made, changed and compared object by object; and a small scene."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_core.files.image_files import write_image
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.gaussians.ply import write_gaussian_ply
from ssl_core.packing.layout import ply_path, view_path
from ssl_core.scenes.cameras import Camera, orbit_cameras
from tests.ssl_core.camera_writers import opengl_pose, write_json


def put(root: Path, key: str, seed: int, *, sh_rest: bool = True, views: int = 2) -> None:
    """Write one object, `class/split/name`, in place of any that is there."""
    drop(root, key)
    rng = np.random.default_rng(seed)
    count = 48 + seed % 7
    cloud = GaussianCloud(
        xyz=rng.normal(size=(count, 3)),
        opacity_logits=np.where(rng.random(count) < 0.1, -4.0, rng.uniform(0.5, 4, count)),
        log_scales=rng.normal(-3, 0.3, (count, 3)),
        quaternions=rng.normal(size=(count, 4)),
        sh_dc=rng.normal(size=(count, 3)),
        sh_rest=rng.normal(0, 0.1, (count, 15 if sh_rest else 0, 3)),
    )
    write_gaussian_ply(ply_path(root / "points", *key.split("/")), cloud)
    for view in range(views):
        write_image(view_path(root / "images", *key.split("/"), view), rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))


def drop(root: Path, key: str) -> None:
    """Remove one object."""
    for kind in ("points", "images"):
        shutil.rmtree(root / kind / key, ignore_errors=True)


def pack_bytes(pack: Path) -> dict[str, str]:
    """Digest of every file of a pack that may not differ between equal packs."""
    files = sorted(file for file in pack.iterdir() if file.name != "sources.json")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def ray_directions(camera: Camera) -> np.ndarray:
    """[H * W, 3] unit directions in the world through the pixels' centres, row by row."""
    v, u = np.mgrid[: camera.height, : camera.width].reshape(2, -1) + 0.5
    directions = np.linalg.solve(camera.K, np.stack([u, v, np.ones_like(u)])).T @ camera.viewmat[:3, :3]
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def write_scene(folder: Path, views: int = 24, size: int = 12) -> Path:
    """Pictures whose colours follow their rays' directions, with their cameras."""
    frames = []
    for number, camera in enumerate(orbit_cameras(views, size)):
        directions = ray_directions(camera)
        colours = (0.5 + 0.45 * np.sin(3 * directions)).reshape(size, size, 3)
        name = f"{number:02d}.png"
        frames.append({"file_path": name, "transform_matrix": opengl_pose(camera)})
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * colours).round().astype(np.uint8)).save(folder / name)
    focal = float(orbit_cameras(1, size)[0].K[0, 0])
    write_json(folder / "transforms.json", {"fl_x": focal, "w": size, "h": size, "frames": frames})
    return folder
