"""Views of a scene field as people see them: label maps in colour, depth by a colour map, beside the photographs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
VOID_COLOUR = (0, 0, 0)
_ROW = 192
"""Pixels that a row of the picture is high at most."""


@dataclass(frozen=True)
class ShownView:
    """One view: the photograph [H, W, 3] uint8 and what a field draws. Label maps [H, W] uint8 are None where there
    are none."""

    photograph: Pixels
    image: NDArray[np.float32]  # [H, W, 3] in [0, 1]
    depth: NDArray[np.float32]  # [H, W], 0 where nothing is
    label: Pixels
    truth: Pixels | None = None
    teacher: Pixels | None = None


def coloured_labels(labels: NDArray[np.integer], colours: Pixels) -> Pixels:
    """[H, W] ids -> [H, W, 3]; what is no class is black."""
    table = np.array([*colours.reshape(-1, 3).tolist(), VOID_COLOUR], np.uint8)
    found: Pixels = table[np.minimum(labels, len(colours))]
    return found


def coloured_depth(depth: NDArray[np.float32], span: tuple[float, float] | None = None) -> Pixels:
    """[H, W] -> [H, W, 3]: near is bright, nothing is black. `span`: of the depths that the colours stand for."""
    known = depth > 0
    low, high = depth_span([depth]) if span is None else span
    share = (depth - low) / max(high - low, 1e-12)
    colours = (255 * colormaps["viridis_r"](share.clip(0, 1))[..., :3]).round().astype(np.uint8)
    colours[~known] = 0
    found: Pixels = colours
    return found


def depth_span(depths: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Second and 98th percentile of what is known; (0, 1) where nothing is."""
    known = np.concatenate([depth[depth > 0].ravel() for depth in depths])
    low, high = np.quantile(known, [0.02, 0.98]) if len(known) else (0.0, 1.0)
    return float(low), float(high)


def as_pixels(image: NDArray[np.float32]) -> Pixels:
    """[H, W, 3] in [0, 1] -> bytes."""
    found: Pixels = (image.clip(0, 1) * 255).round().astype(np.uint8)
    return found


def views_png(views: Sequence[ShownView], colours: Pixels) -> bytes:
    """A column a view, from above: photograph, what is drawn, true labels, the teacher's, the field's, depth; rows that
    no view has are left out."""
    span = depth_span([view.depth for view in views])
    columns = []
    for view in views:
        rows = [view.photograph, as_pixels(view.image)]
        for name in ("truth", "teacher", "label"):
            maps = [getattr(each, name) for each in views]
            if any(each is not None and (each < len(colours)).any() for each in maps):
                found = getattr(view, name)
                rows.append(np.zeros_like(view.photograph) if found is None else coloured_labels(found, colours))
        rows.append(coloured_depth(view.depth, span))
        step = -(-len(view.photograph) // _ROW)
        columns.append(np.concatenate([np.pad(row[::step, ::step], ((0, 3), (0, 3), (0, 0)), constant_values=255)
                                       for row in rows]))  # fmt: skip
    height = max(len(column) for column in columns)
    padded = [np.pad(each, ((0, height - len(each)), (0, 0), (0, 0)), constant_values=255) for each in columns]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(padded, axis=1)).save(buffer, "png")
    return buffer.getvalue()
