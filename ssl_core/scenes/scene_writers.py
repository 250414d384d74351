"""Writers of cameras in the layouts that other tools read: nerfstudio's transforms.json and COLMAP's text model."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ssl_core.errors import DataError
from ssl_core.files.whole import atomic_write
from ssl_core.scenes.cameras import Camera, ScenePoints


def write_transforms(
    path: Path, names: Sequence[str], cameras: Sequence[Camera], *, depth: bool = False, points: str | None = None
) -> None:
    """Write a transforms.json for pictures `images/<name>`, all of one size and lens.

    Args:
        path: the file.
        names: of the pictures.
        cameras: as many.
        depth: whether `depth/<name>` are there, PNG of 16 bits in millimetres, nerfstudio's default.
        points: name of a .ply of points beside the file.

    Raises:
        DataError: the cameras differ in size or lens.
        StorageError: the disk is full or not writable.
    """
    first = _common(cameras)
    frames = []
    for name, camera in zip(names, cameras, strict=True):
        pose = np.linalg.inv(camera.viewmat)
        pose[:, 1:3] *= -1  # OpenGL's camera: y up, looking along -z
        frame = {"file_path": f"images/{name}", "transform_matrix": pose.tolist()}
        frames.append(frame | ({"depth_file_path": f"depth/{name}"} if depth else {}))
    content = {
        "camera_model": "PINHOLE",
        "w": first.width,
        "h": first.height,
        "fl_x": float(first.K[0, 0]),
        "fl_y": float(first.K[1, 1]),
        "cx": float(first.K[0, 2]),
        "cy": float(first.K[1, 2]),
        **({} if points is None else {"ply_file_path": points}),
        "frames": frames,
    }
    with atomic_write(path) as stream:
        stream.write(json.dumps(content, indent=1).encode())


def write_colmap_text(folder: Path, names: Sequence[str], cameras: Sequence[Camera], points: ScenePoints) -> None:
    """Write cameras.txt, images.txt and points3D.txt: one PINHOLE camera, no observations of the points.

    Raises: as `write_transforms`.
    """
    first = _common(cameras)
    lens = " ".join(repr(float(value)) for value in (first.K[0, 0], first.K[1, 1], first.K[0, 2], first.K[1, 2]))
    images = []
    for number, (name, camera) in enumerate(zip(names, cameras, strict=True), start=1):
        x, y, z, w = Rotation.from_matrix(camera.viewmat[:3, :3]).as_quat()
        pose = " ".join(repr(float(value)) for value in (w, x, y, z, *camera.viewmat[:3, 3]))
        images += [f"{number} {pose} 1 {name}", ""]
    rows = [
        f"{number} {xyz[0]:.6f} {xyz[1]:.6f} {xyz[2]:.6f} {rgb[0]} {rgb[1]} {rgb[2]} 0"
        for number, (xyz, rgb) in enumerate(zip(points.xyz, points.colours, strict=True), start=1)
    ]
    for file, lines in (
        ("cameras.txt", [f"1 PINHOLE {first.width} {first.height} {lens}"]),
        ("images.txt", images),
        ("points3D.txt", rows),
    ):
        with atomic_write(folder / file) as stream:
            stream.write("".join(f"{line}\n" for line in lines).encode())


def _common(cameras: Sequence[Camera]) -> Camera:
    first = cameras[0]
    for camera in cameras:
        if (camera.width, camera.height) != (first.width, first.height) or not np.array_equal(camera.K, first.K):
            raise DataError("cameras of several sizes or lenses cannot stand in one file; write them one by one")
    return first
