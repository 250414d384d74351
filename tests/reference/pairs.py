"""Visible points by plain loops over Gaussians, pixels and points: the slow twin of `render.gaussian_depth`."""

import math

import numpy as np

from ssl_core.render.gaussian_depth import Ellipsoids, projection_matrix
from ssl_core.render.projection import NEAR
from ssl_core.scenes.cameras import Camera


def plain_projection(matrix: np.ndarray, point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in point)
    u, v, depth = (float(m[0]) * x + float(m[1]) * y + float(m[2]) * z + float(m[3]) for m in matrix)
    return (u / depth, v / depth, depth) if depth > NEAR else (-1.0, -1.0, depth)


def plain_depth_map(ellipsoids: Ellipsoids, camera: Camera, extent: float) -> np.ndarray:
    depth = np.full((camera.height, camera.width), np.inf)
    matrix, view = projection_matrix(camera), camera.viewmat
    for centre, turn, deviation in zip(ellipsoids.centres, ellipsoids.rotations, ellipsoids.deviations, strict=True):
        x, y, z = plain_projection(matrix, centre)
        if 0 <= x < camera.width and 0 <= y < camera.height:
            depth[int(y), int(x)] = min(depth[int(y), int(x)], z)
        if z - extent * deviation.max() <= NEAR:
            continue
        local = [
            [
                (turn[0, i] * view[j, 0] + turn[1, i] * view[j, 1] + turn[2, i] * view[j, 2]) / deviation[i]
                for j in range(3)
            ]
            for i in range(3)
        ]
        c = [view[i, 0] * centre[0] + view[i, 1] * centre[1] + view[i, 2] * centre[2] + view[i, 3] for i in range(3)]
        o = [-(m[0] * c[0] + m[1] * c[1] + m[2] * c[2]) for m in local]
        for row in range(camera.height):
            for column in range(camera.width):
                dx = (column + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
                dy = (row + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
                r = [m[0] * dx + m[1] * dy + m[2] for m in local]
                along, square, apart = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2] for a, b in ((o, r), (r, r), (o, o)))
                t = -along / square
                if apart - along * along / square <= extent * extent and t > NEAR:
                    depth[row, column] = min(depth[row, column], t)
    return depth


def plain_visible(xyz: np.ndarray, camera: Camera, depth: np.ndarray, eps: float) -> np.ndarray:
    seen = []
    for point in xyz:
        x, y, z = plain_projection(projection_matrix(camera), point)
        row, column = math.floor(y), math.floor(x)
        inside = 0 <= row < camera.height and 0 <= column < camera.width
        seen.append(inside and z <= depth[row, column] + eps)
    return np.array(seen)
