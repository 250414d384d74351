"""Reconstructions as people see them: drawn from the view's own camera, and from three sides beside the true cloud."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.evaluation.pictures import GREY, INK, png
from ssl_core.evaluation.reconstruction_data import SingleViews
from ssl_core.evaluation.report import psnr
from ssl_core.files.image_files import as_bytes
from ssl_core.losses.silhouette import mask_iou
from ssl_core.render.point_splatting import (
    OrbitLens,
    orbit_rotation,
    project_points,
    splat_colour,
    splat_mask,
)

_VARIANCE = 0.4
"""of a point on the screen, in square pixels: the reference's"""
_SIDE = 72
_SIDES = ((0.0, 15.0), (60.0, 15.0), (120.0, 15.0))
"""azimuth and elevation in degrees"""
_DISTANCE, _FOCAL = 2.6, 1.07
"""of the pictures' own camera: the unit sphere just fits"""


def drawn_views(some: SingleViews, clouds: Tensor) -> tuple[Tensor, Tensor] | None:
    """Colours [n, 3, S, S] and masks [n, S, S] of clouds [n, N, 6] in the pack's frame, seen as the views see the
    objects; None where the pack has no cameras."""
    cameras = some.cameras()
    if cameras is None:
        return None
    size, pictures, masks = some.card.image_size, [], []
    for cloud, camera in zip(clouds, cameras, strict=True):
        view = torch.from_numpy(camera.viewmat).float()
        distance = float(view[:3, 3].norm())
        lens = OrbitLens.of(size, float(camera.K[0, 0]) / camera.width, distance)
        # where the camera looks past the origin, the cloud is moved instead
        aside = view[:3, 3] - torch.tensor([0.0, 0.0, distance])
        seen = project_points((cloud[:, :3] + aside @ view[:3, :3])[None], view[None, :3, :3], lens)
        pictures.append(splat_colour(seen, cloud[None, :, 3:], size)[0])
        masks.append(splat_mask(seen, size, _VARIANCE)[0])
    return torch.stack(pictures), torch.stack(masks)


def view_agreement(some: SingleViews, drawn: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Mean over views of the intersection over union of masks, and of the colours' PSNR in dB, black included."""
    pictures, masks = drawn
    errors = (pictures - some.images()).square().mean(dim=(1, 2, 3))
    return float(mask_iou(masks, some.masks()).mean()), float(np.mean([psnr(error) for error in errors.tolist()]))


def object_pictures(some: SingleViews, clouds: Tensor, distances: Sequence[float], count: int) -> dict[str, bytes]:
    """`best.png` and `worst.png`: so many objects by their distance, a row each."""
    order = np.argsort(np.array(distances), kind="stable")
    chosen = {"best": order[:count], "worst": order[::-1][:count]}
    return {
        f"{name}.png": _rows_png(some, clouds, distances, rows, f"{name} test objects")
        for name, rows in chosen.items()
        if len(rows)
    }


def _rows_png(
    some: SingleViews, clouds: Tensor, distances: Sequence[float], rows: NDArray[np.int64], title: str
) -> bytes:
    """Input, reconstruction from three sides, the same drawn as the input, the true cloud from two sides."""
    heads = ["input", *("reconstruction", "", ""), "as the input", "true cloud", ""]
    figure = Figure(figsize=(0.95 * len(heads), 1.02 * len(rows) + 0.6), layout="constrained")
    grid = figure.subplots(len(rows), len(heads), squeeze=False)
    drawn = drawn_views(some, clouds)
    images = some.images()
    for line, index in zip(grid, rows.tolist(), strict=True):
        mine, truth = _sides(clouds[index]), _sides(some.coloured(index))
        again = [] if drawn is None else [_shown(drawn[0][index])]
        blank = np.full((_SIDE, _SIDE, 3), 255, dtype=np.uint8)
        tiles = [_shown(images[index]), *mine, *(again or [blank]), *truth[:2]]
        for axes, tile in zip(line, tiles, strict=True):
            axes.imshow(tile, interpolation="nearest")
            axes.set_axis_off()
        label = some.pack.manifest.objects[int(some.objects[index])].name[:24]
        line[0].set_title(f"{label}: {1000 * distances[index]:.1f}", fontsize=6, color=INK, loc="left", pad=2)
    for axes, head in zip(grid[0][1:], heads[1:], strict=True):
        axes.set_title(head, fontsize=7, color=GREY, pad=2)
    figure.suptitle(f"{title}: CD-L2 x 1000", fontsize=9, color=INK, x=0.01, ha="left")
    return png(figure)


def _sides(cloud: Tensor) -> list[NDArray[np.uint8]]:
    """Of a cloud [N, 6], drawn at a common size."""
    xyz = cloud[:, :3]
    centred = xyz - (xyz.amax(0) + xyz.amin(0)) / 2
    framed = centred / centred.norm(dim=1).quantile(0.99).clamp_min(1e-9)
    angles = torch.tensor([(math.radians(azimuth), math.radians(up)) for azimuth, up in _SIDES])
    seen = project_points(
        framed.expand(len(angles), -1, -1),
        orbit_rotation(angles[:, 0], angles[:, 1]),
        OrbitLens.of(_SIDE, _FOCAL, _DISTANCE),
    )
    return [_shown(picture) for picture in splat_colour(seen, cloud[:, 3:].expand(len(angles), -1, -1), _SIDE)]


def _shown(picture: Tensor) -> NDArray[np.uint8]:
    return as_bytes(picture.permute(1, 2, 0).numpy())
