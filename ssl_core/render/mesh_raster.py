"""Pictures of triangle meshes: a z-buffer by spans, vectorised over all faces of a mesh.

A face becomes one span per pixel row it crosses, a span becomes the pixels it covers. So only covered
pixels are ever touched, and long thin triangles (CAD meshes are full of them) cost no more than others and need no
subdivision. 1/z is affine on the screen, so interpolating it along edges and spans is perspective-correct.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.meshes.mesh import Mesh, face_normals
from ssl_core.scenes.cameras import Camera

NEAR = 1e-3
LIGHT = np.array([0.2, 0.53, 0.825])
"""Direction of the fixed light: the faces of an axis-aligned box get three clearly different shades."""
AMBIENT = 0.4


@dataclass(frozen=True)
class MeshView:
    """One picture of a mesh."""

    rgb: NDArray[np.float32]  # [H, W, 3] float32 in [0, 1]
    # [H, W] float32 along the camera's z axis, of the nearest subsample; inf where nothing is hit
    depth: NDArray[np.float32]
    face_index: NDArray[np.int64]  # [H, W] int64, the face at that depth; -1 where nothing is hit
    alpha: NDArray[np.float32]  # [H, W] float32 in [0, 1], the share of subsamples that are hit


def baked_colours(mesh: Mesh) -> NDArray[np.float32]:
    """[F, 3] face colours under ambient + Lambert light, the same from every side of the mesh.

    Two-sided: the winding of CAD meshes says little about inside and outside.
    """
    normals = face_normals(mesh)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    light = AMBIENT + (1 - AMBIENT) * np.abs(normals @ (LIGHT / np.linalg.norm(LIGHT)))
    colours: NDArray[np.float32] = (mesh.face_colours * light[:, None]).astype(np.float32)
    return colours


def render_mesh_views(
    mesh: Mesh, cameras: Iterable[Camera], *, background: float = 1.0, supersample: int = 2
) -> list[MeshView]:
    """Views of `mesh` (world units) with its light baked into the faces, before a grey `background`.

    `supersample` subsamples per pixel and axis are averaged. Faces end NEAR in front of the camera.
    """
    colours = np.concatenate([baked_colours(mesh), np.full((1, 3), background, dtype=np.float32)])
    return [_view(mesh, camera, colours, supersample) for camera in cameras]


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


def _view(mesh: Mesh, camera: Camera, colours: NDArray[np.float32], s: int) -> MeshView:
    height, width = camera.height * s, camera.width * s
    near, face = _z_buffer(_screen_triangles(mesh, camera, s), height, width)
    rgb = colours[face].reshape(camera.height, s, camera.width, s, 3).mean(axis=(1, 3), dtype=np.float32)
    blocks = near.reshape(camera.height, s, camera.width, s).transpose(0, 2, 1, 3).reshape(-1, s * s)
    faces = face.reshape(camera.height, s, camera.width, s).transpose(0, 2, 1, 3).reshape(-1, s * s)
    winner = blocks.argmax(axis=1)[:, None]
    nearest = np.take_along_axis(blocks, winner, 1).reshape(camera.height, camera.width)
    index = np.take_along_axis(faces, winner, 1).reshape(camera.height, camera.width)
    with np.errstate(divide="ignore"):
        depth = (1 / nearest).astype(np.float32)
    alpha = (faces >= 0).mean(axis=1, dtype=np.float32).reshape(camera.height, camera.width)
    return MeshView(rgb, depth, index, alpha)


def _screen_triangles(mesh: Mesh, camera: Camera, s: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """[M, 3 corners, (x, y, 1/z)] in subsamples, corners sorted by y, and their face indices [M]."""
    points = mesh.vertices @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    in_front = points[:, 2] > NEAR
    to_pixels = (camera.K * np.array([[s], [s], [1.0]])).T
    corners = _on_screen(points, np.where(in_front, points[:, 2], 1.0), to_pixels)[mesh.faces]
    ahead = in_front[mesh.faces].sum(axis=1)
    whole, crossing = np.flatnonzero(ahead == 3), np.flatnonzero((ahead == 1) | (ahead == 2))
    corners, index = corners[whole], whole
    if len(crossing):
        pieces, of = _clipped(points[mesh.faces[crossing]])
        corners = np.concatenate([corners, _on_screen(pieces, pieces[..., 2], to_pixels)])
        index = np.concatenate([index, crossing[of]])
    rows = corners[:, :, 1]
    first, last = np.ceil(rows.min(axis=1) - 0.5), np.floor(rows.max(axis=1) - 0.5)
    seen = np.flatnonzero((first <= last) & (last >= 0) & (first < camera.height * s))
    order = np.argsort(rows[seen], axis=1, kind="stable")[:, :, None]
    return np.take_along_axis(corners[seen], order, 1), index[seen]


def _on_screen(points: NDArray[Any], z: NDArray[Any], to_pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., (x, y, 1/z)] of points [..., 3] before the camera."""
    inverse = 1 / z
    pixels = points @ to_pixels
    return np.stack([pixels[..., 0] * inverse, pixels[..., 1] * inverse, inverse], axis=-1)


def _clipped(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What lies beyond z = NEAR of triangles [M, 3, 3] with one or two corners there: triangles [N, 3, 3], and of which
    of the M each is a part, [N]."""
    ahead = corners[..., 2] > NEAR
    one = ahead.sum(axis=1) == 1
    lone = np.where(one[:, None], ahead, ~ahead).argmax(axis=1)  # the corner that is alone on its side comes first
    a, b, c = np.moveaxis(np.take_along_axis(corners, ((lone[:, None] + np.arange(3)) % 3)[..., None], 1), 1, 0)
    cuts = []
    for other in (b, c):
        share = (NEAR - a[:, 2:]) / (other[:, 2:] - a[:, 2:])
        cut = a + share * (other - a)
        cut[:, 2] = NEAR
        cuts.append(cut)
    ab, ac = cuts
    tips = np.stack([a[one], ab[one], ac[one]], axis=1)
    two = ~one
    halves = [np.stack(three, axis=1) for three in ((b[two], c[two], ac[two]), (b[two], ac[two], ab[two]))]
    rest = np.flatnonzero(two)
    return np.concatenate([tips, *halves]), np.concatenate([np.flatnonzero(one), rest, rest])


def _z_buffer(
    triangles: tuple[NDArray[np.float64], NDArray[np.int64]], height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """[H * W] largest 1/z and its face; 0 and -1 where nothing is hit. Ties go to the smaller face index."""
    corners, index = triangles
    first = np.maximum(np.ceil(corners[:, 0, 1] - 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(corners[:, 2, 1] - 0.5), height - 1).astype(np.int64)
    rows, of = _expand(first, last - first + 1)
    x, length, q, slope = _spans(corners[of], rows.astype(np.float64) + 0.5, width)
    keep = length > 0
    column, span = _expand(x[keep], length[keep])
    value = (q[keep][span] + slope[keep][span] * column).astype(np.float32)
    # positive floats order like their bits: one integer holds depth first, then the face
    key = value.view(np.int32).astype(np.int64) << 32
    key |= (0x7FFFFFFF - index[of[keep]])[span]
    buffer = np.zeros(height * width, dtype=np.int64)
    np.maximum.at(buffer, rows[keep][span] * width + column, key)
    face = np.where(buffer > 0, 0x7FFFFFFF - (buffer & 0x7FFFFFFF), -1)
    return (buffer >> 32).astype(np.int32).view(np.float32), face


def _spans(
    corners: NDArray[np.float64], y: NDArray[np.float64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """First column [R], columns [R], and q, slope [R] of 1/z = q + slope * column, for row y of each triangle."""
    top, middle, bottom = corners[:, 0], corners[:, 1], corners[:, 2]
    long_side = _at(top, bottom, y)
    upper = (y < middle[:, 1])[:, None]
    short_side = _at(np.where(upper, top, middle), np.where(upper, middle, bottom), y)
    swap = (long_side[:, 0] > short_side[:, 0])[:, None]
    left, right = np.where(swap, short_side, long_side), np.where(swap, long_side, short_side)
    first = np.clip(np.ceil(left[:, 0] - 0.5), 0, width)
    last = np.clip(np.floor(right[:, 0] - 0.5), -1, width - 1)
    run = right[:, 0] - left[:, 0]
    slope = np.divide(right[:, 1] - left[:, 1], run, out=np.zeros_like(run), where=run > 1e-12)
    q = left[:, 1] + slope * (0.5 - left[:, 0])
    return first.astype(np.int64), (last - first + 1).astype(np.int64), q, slope


def _at(a: NDArray[np.float64], b: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """[R, (x, 1/z)] where the edge from a to b crosses height y."""
    rise = b[:, 1] - a[:, 1]
    t = np.divide(y - a[:, 1], rise, out=np.zeros_like(rise), where=rise > 0)
    crossing: NDArray[np.float64] = a[:, ::2] + t[:, None] * (b[:, ::2] - a[:, ::2])
    return crossing


def _expand(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All integers of the ranges [first, first + count), and the range that each came from."""
    of = np.repeat(np.arange(len(count)), count)
    start = np.cumsum(count) - count
    return np.arange(len(of)) + np.repeat(first - start, count), of
