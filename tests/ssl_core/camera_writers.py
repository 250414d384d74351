"""Small writers of camera files, spelled out from the formats' descriptions; and a reader of COLMAP's 2D points."""

import json
import struct
from pathlib import Path

import numpy as np

from ssl_core.scenes.cameras import Camera, orbit_cameras

CAMERAS = [
    Camera(camera.viewmat, np.array([[70.5, 0, 32.0], [0, 70.5, 24.0], [0, 0, 1]]), 64, 48)
    for camera in orbit_cameras(5, 64, seed=3, elevations=(-80, 80))
]
NAMES = [f"train/r_{i}" for i in range(5)]
POINTS = np.random.default_rng(0).uniform(-1, 1, (9, 3))

IDS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5}


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def camera_to_world(camera):
    """[4, 4], our axes."""
    return np.linalg.inv(camera.viewmat)


def inria(cameras, names):
    entries = []
    for i, (camera, name) in enumerate(zip(cameras, names, strict=True)):
        pose = camera_to_world(camera)
        entries.append(
            {
                "id": i,
                "img_name": name,
                "width": camera.width,
                "height": camera.height,
                "position": pose[:3, 3].tolist(),
                "rotation": pose[:3, :3].tolist(),
                "fx": camera.K[0, 0],
                "fy": camera.K[1, 1],
            }
        )
    return entries


def opengl_pose(camera):
    """Camera to world with y up and -z forward, as Blender writes it."""
    pose = camera_to_world(camera)
    pose[:, 1:3] *= -1
    return pose.tolist()


def blender(cameras, names):
    frames = [
        {"file_path": name, "transform_matrix": opengl_pose(camera)}
        for camera, name in zip(cameras, names, strict=True)
    ]
    return {"camera_angle_x": 2 * np.arctan(cameras[0].width / 2 / cameras[0].K[0, 0]), "frames": frames}


def nerfstudio(cameras, names, **more):
    first = cameras[0]
    top = {"fl_x": first.K[0, 0], "fl_y": first.K[1, 1], "cx": first.K[0, 2], "cy": first.K[1, 2]}
    return {**blender(cameras, names), **top, "w": first.width, "h": first.height, **more}


def quaternion(rotation):
    """wxyz by the largest of its components."""
    m = rotation
    squares = np.array(
        [
            1 + m[0, 0] + m[1, 1] + m[2, 2],
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    k = int(np.argmax(squares))
    rows = [
        [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], squares[1], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]],
        [m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], squares[2], m[2, 1] + m[1, 2]],
        [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2], squares[3]],
    ]
    q = np.array(rows[k])
    return q / np.linalg.norm(q)


class Model:
    """A COLMAP model: cameras {id: (model, width, height, parameters)}, images [(id, camera id, name, q, t, [2D
    points])], points [(id, xyz, rgb, track)]."""

    def __init__(self, cameras, images, points):
        self.cameras, self.images, self.points = cameras, images, points

    @classmethod
    def of(cls, cameras, names, points=(), kind="PINHOLE", extra=()):
        """One COLMAP camera for all; image ids do not begin at 0."""
        K = cameras[0].K
        focal = (K[0, 0],) if kind.startswith("SIMPLE") or kind == "RADIAL" else (K[0, 0], K[1, 1])
        table = {7: (kind, cameras[0].width, cameras[0].height, (*focal, K[0, 2], K[1, 2], *extra))}
        images = [
            (i + 3, 7, name, quaternion(c.viewmat[:3, :3]), c.viewmat[:3, 3], [(1.5, 2.5, -1)] * (i % 3))
            for i, (c, name) in enumerate(zip(cameras, names, strict=True))
        ]
        return cls(table, images, [(i + 11, p, (i % 256, 1, 2), [(3, 0)] * (i % 4)) for i, p in enumerate(points)])

    def write_binary(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        cameras = struct.pack("<Q", len(self.cameras))
        for key, (kind, width, height, parameters) in self.cameras.items():
            cameras += struct.pack(f"<IiQQ{len(parameters)}d", key, IDS.get(kind, kind), width, height, *parameters)
        images = struct.pack("<Q", len(self.images))
        for key, camera, name, q, t, seen in self.images:
            images += struct.pack("<I7dI", key, *q, *t, camera) + name.encode() + b"\0"
            images += struct.pack("<Q", len(seen)) + b"".join(struct.pack("<ddq", *item) for item in seen)
        points = struct.pack("<Q", len(self.points))
        for key, xyz, rgb, track in self.points:
            points += struct.pack("<Q3d3BdQ", key, *xyz, *rgb, 0.5, len(track))
            points += b"".join(struct.pack("<II", *item) for item in track)
        for name, content in (("cameras", cameras), ("images", images), ("points3D", points)):
            (folder / f"{name}.bin").write_bytes(content)
        return folder

    def write_text(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        cameras = ["# Camera list with one line of data per camera:"]
        for key, (kind, width, height, parameters) in self.cameras.items():
            cameras.append(" ".join(map(str, (key, kind, width, height, *(repr(float(p)) for p in parameters)))))
        images = ["# Image list with two lines of data per image:"]
        for key, camera, name, q, t, seen in self.images:
            numbers = " ".join(repr(float(value)) for value in (*q, *t))
            images += [f"{key} {numbers} {camera} {name}", " ".join(f"{x} {y} {point}" for x, y, point in seen)]
        points = ["# 3D point list with one line of data per point:"]
        for key, xyz, rgb, track in self.points:
            numbers = " ".join([*(repr(float(v)) for v in xyz), *map(str, rgb), "0.5"])
            points.append(f"{key} {numbers} " + " ".join(f"{a} {b}" for a, b in track))
        for name, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
        return folder


def read_observations(folder: Path):
    """name -> [(x, y, point id)] of images.bin, point id -> row of points3D.bin, and each row's recorded error."""
    content, at = (folder / "images.bin").read_bytes(), 8
    seen = {}
    for _ in range(struct.unpack_from("<Q", content)[0]):
        at += 64
        end = content.index(b"\0", at)
        name, at = content[at:end].decode(), end + 1
        (count,) = struct.unpack_from("<Q", content, at)
        seen[name] = np.frombuffer(content, [("xy", "<f8", 2), ("point", "<i8")], count, at + 8)
        at += 8 + 24 * count
    content, at, rows, errors = (folder / "points3D.bin").read_bytes(), 8, {}, []
    for row in range(struct.unpack_from("<Q", content)[0]):
        rows[struct.unpack_from("<Q", content, at)[0]] = row
        errors.append(struct.unpack_from("<d", content, at + 35)[0])
        at += 51 + 8 * struct.unpack_from("<Q", content, at + 43)[0]
    return seen, rows, errors
